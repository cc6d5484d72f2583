"""`bigtrain runs`: good, unfinished and broken runs of a folder, side by side."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from command import bigtrain, files, typed

from bigtrain.cli import columns
from bigtrain.cli.columns import ALWAYS, Column, render
from bigtrain.run.found import CONFIG_BYTES, find, read

OVERRIDES = ["steps=3", "model.widths=[8]", "run_dir=somewhere"]


def make_run(trained: Path, folder: Path, rate: str, loss: float | None, accuracy: float = 0.5, **config: str) -> Path:
    """A copy of a run with another learning rate and other scores; unfinished without a loss."""
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints"))
    text = (folder / "config.yaml").read_text().replace("learning_rate: 0.001", f"learning_rate: {rate}")
    for key, value in config.items():
        assert f"\n{key}: " in text
        text = "".join(f"{key}: {value}\n" if line.startswith(f"{key}: ") else line for line in text.splitlines(True))
    (folder / "config.yaml").write_text(text)
    (folder / "overrides.json").write_text(json.dumps([*OVERRIDES, f"optimizer.learning_rate={rate}"]))
    if loss is None:
        (folder / "result.json").unlink()
        return folder
    result = json.loads((folder / "result.json").read_text())
    for split, more in (("validation", 0.0), ("test", 0.25)):
        result[split] = {"loss": loss + more, "accuracy": accuracy}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def runs(trained: Path, workdir: Path) -> Path:
    """Three finished runs, one that isn't, and one that can't be read."""
    folder = workdir / "sweep"
    make_run(trained, folder / "2", "0.01", 1.5, 0.9)
    make_run(trained, folder / "10", "0.002", 1.25, 0.6)
    make_run(trained, folder / "below" / "there" / "1", "0.5", 3.0, 0.1, seed="7")
    make_run(trained, folder / "11", "0.004", None, steps="10epochs")
    (folder / "broken").mkdir()
    (folder / "broken" / "config.yaml").write_text("a: 1\n{ [")
    return folder


def test_a_metric_to_sort_by_is_none(runs: Path) -> None:
    found = bigtrain("runs", str(runs), "--sort", "chang")
    assert found.code == 2
    assert found.err.startswith("error: --sort: no run has 'chang'\n  allowed: changed, ")
    assert "did you mean 'changed'?" in found.err


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell] for line in text.splitlines()]


def test_list(runs: Path) -> None:
    before = files(runs)
    done = typed("runs list sweep --metric loss --metric test/accuracy")
    assert done.code == 0
    assert [row[:-1] for row in _rows(done.out)] == [
        ["run", "state", "seed", "steps", "learning_rate", "validation/loss", "test/accuracy"],
        ["2", "finished", "0", "3", "0.01", "1.5000", "0.9000"],
        ["10", "finished", "0", "3", "0.002", "1.2500", "0.6000"],
        ["11", "step 3/10epochs", "0", "10epochs", "0.004", _loss(runs / "11"), "-"],
        ["below/there/1", "finished", "7", "3", "0.5", "3.0000", "0.1000"],
        ["broken", "broken", "-", "-", "-", "-", "-"],
    ]
    assert done.err == "broken: broken: config.yaml: can't be read: line 2: expected <block end>, but found '{'\n"
    assert files(runs) == before


def _loss(run: Path) -> str:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return f"{[line['validation/loss'] for line in lines if 'validation/loss' in line][-1]:.4f}"


def test_a_folder_is_enough(runs: Path) -> None:
    assert typed("runs sweep") == typed("runs list sweep")
    assert json.loads(typed("runs --json sweep").out)["runs"]
    shutil.move("sweep", "runs")
    assert typed("runs").out == typed("runs list runs").out != ""


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("loss", ["11", "10", "2", "below/there/1", "broken"]),
        ("test/loss", ["10", "2", "below/there/1", "11", "broken"]),
        ("validation/accuracy", ["2", "10", "11", "below/there/1", "broken"]),
    ],
)
def test_sorted_with_the_best_first(runs: Path, sort: str, order: list[str]) -> None:
    scores = {"validation/loss": 0.5, "validation/accuracy": 0.3}
    (runs / "11" / "metrics.jsonl").write_text(json.dumps({"step": 2, **scores}) + "\n")
    done = typed(f"runs sweep --sort {sort}")
    assert [row[0] for row in _rows(done.out)[1:]] == order


def test_sorted_by_time(runs: Path) -> None:
    for at, name in enumerate(["2", "below/there/1", "10", "11"]):
        for file in (runs / name).iterdir():
            if file.is_file():
                os.utime(file, (1e9 + at, 1e9 + at))
    rows = _rows(typed("runs sweep --sort changed").out)
    assert [row[0] for row in rows[1:]] == ["11", "10", "below/there/1", "2", "broken"]


def test_list_json(runs: Path) -> None:
    found = json.loads(typed("runs list sweep --json").out)
    assert found["differing"] == ["seed", "steps", "optimizer.learning_rate"]
    by_place = {run["run_dir"]: run for run in found["runs"]}
    assert by_place["sweep/2"]["state"] == "finished"
    assert by_place["sweep/2"]["scores"]["test/loss"] == 1.75
    assert by_place["sweep/2"]["config"] == {"seed": 0, "steps": 3, "optimizer.learning_rate": 0.01}
    assert (by_place["sweep/11"]["state"], by_place["sweep/11"]["step"]) == ("unfinished", 3)
    assert by_place["sweep/broken"]["error"].startswith("config.yaml: can't be read: ")


def test_best(runs: Path) -> None:
    done = typed("runs best sweep")
    assert (done.code, done.err) == (0, "unfinished runs were not compared: 1\n")
    assert done.out == (
        "run     sweep/10\n"
        "score   validation/loss 1.25, the smallest of 3 runs\n"
        "repeat  bigtrain fit steps=3 'model.widths=[8]' optimizer.learning_rate=0.002\n"
    )


@pytest.mark.parametrize(
    ("options", "name"),
    [("--metric accuracy", "2"), ("--metric test/loss --mode max", "below/there/1"), ("--mode max", "below/there/1")],
)
def test_best_by_another_metric(runs: Path, options: str, name: str) -> None:
    found = json.loads(typed(f"runs best sweep --json {options}").out)
    assert found["run_dir"] == f"sweep/{name}"
    assert shlex.split(found["command"]) == ["bigtrain", "fit", *found["overrides"]]


def test_the_repeated_command_trains_the_same(runs: Path) -> None:
    found = json.loads(typed("runs best sweep --json").out)
    again = [text for text in found["overrides"] if not text.startswith("optimizer")]
    assert bigtrain("fit", *again, "batch_size=16", "logger=jsonl", "run_dir=again").code == 0
    compared = json.loads(typed("runs compare sweep/10 again --json").out)
    assert compared["config"] == {"optimizer.learning_rate": {"sweep/10": 0.002, "again": 0.001}}


def test_the_runs_own_way_of_judging(runs: Path) -> None:
    for path in runs.rglob("config.yaml"):
        path.write_text(path.read_text().replace("monitor: loss", "monitor: accuracy"))
    assert json.loads(typed("runs best sweep --json").out)["run_dir"] == "sweep/2"
    for path in runs.rglob("config.yaml"):
        path.write_text(path.read_text().replace("mode: auto", "mode: min"))
    assert json.loads(typed("runs best sweep --json").out)["run_dir"] == "sweep/below/there/1"
    config = runs / "2" / "config.yaml"
    config.write_text(config.read_text().replace("monitor: accuracy", "monitor: loss"))
    done = typed("runs best sweep")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --metric: the runs watch different metrics\n  allowed: validation/")


def test_compare_two(runs: Path) -> None:
    done = typed("runs compare sweep/2 sweep/10")
    assert [row for row in _rows(done.out) if row[0] != "seconds"] == [
        ["2", "10", "difference"],
        ["optimizer.learning_rate", "0.01", "0.002"],
        ["validation/accuracy", "0.9000*", "0.6000", "-0.3"],
        ["validation/loss", "1.5000", "1.2500*", "-0.25"],
        ["test/accuracy", "0.9000*", "0.6000", "-0.3"],
        ["test/loss", "1.7500", "1.5000*", "-0.25"],
        ["parameters", "610", "610", "+0"],
    ]
    assert done.err == "* the best of the row\n"


def test_compare_a_folder(runs: Path) -> None:
    done = typed("runs compare sweep")
    rows = {row[0]: row[1:] for row in _rows(done.out)[1:]}
    assert _rows(done.out)[0] == ["2", "10", "11", "below/there/1"]
    assert rows["seed"] == ["0", "0", "0", "7"]
    assert rows["test/loss"] == ["1.7500", "1.5000*", "-", "3.2500"]
    assert "broken: broken: config.yaml" in done.err
    found = json.loads(typed("runs compare sweep --json").out)
    assert found["scores"]["test/loss"]["sweep/11"] is None


MISTAKES = {
    "runs best sweep --metric test/los": "--metric: no run has 'test/los'",
    "runs sweep --sort perplexity": "--sort: no run has 'perplexity'",
    "runs best sweep --mode most": "--mode: 'most' is none\n  allowed: auto, min, max\n",
    "runs swep": "'swep': there is no such folder\n  did you mean 'sweep'?\n",
    "runs comprae sweep": "there is no command 'comprae' in bigtrain runs",
    "runs sweep/2/config.yaml": "'sweep/2/config.yaml': is a file\n",
    "runs empty": "'empty': holds no runs\n  bigtrain fit makes one; it prints the path as 'run'\n",
    "runs compare sweep/2": "1 run to compare\n  bigtrain runs compare RUN RUN, or a folder that holds several\n",
    "compare": "there is no command 'compare'",
}


@pytest.mark.parametrize("command", list(MISTAKES))
def test_mistakes(command: str, runs: Path) -> None:
    Path("empty").mkdir()
    done = typed(command)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {MISTAKES[command]}")


def _bomb(depth: int = 30) -> str:
    """Nine times as many values with every line: 9^30 in 30 lines."""
    names = [f"n{at}" for at in range(depth)]
    lines = ["n0: &n0 {a: 1}"]
    lines += [
        f"{now}: &{now} {{{', '.join(f'k{at}: *{last}' for at in range(9))}}}"
        for last, now in itertools.pairwise(names)
    ]
    return "\n".join(lines)


STRANGE: dict[str, Any] = {
    "aliases": ("config.yaml", _bomb().encode(), "config.yaml: can't be read: has aliases"),
    "depth": ("config.yaml", b"[" * 5_000, "nested too deep"),
    "size": (
        "config.yaml",
        b"a: 1\n" * CONFIG_BYTES,
        f"config.yaml: can't be read: is larger than {CONFIG_BYTES:,}",
    ),
    "bytes": ("config.yaml", b"\xff\xfe\x00", "config.yaml: can't be read: "),
    "objects": (
        "config.yaml",
        b"a: !!python/object/apply:os.mkdir [ran]",
        "config.yaml: can't be read: line 1: could not",
    ),
    "other": ("config.yaml", b"apiVersion: v1\n", "config.yaml: is no config of a run"),
    "result": ("result.json", b'{"steps": ', "result.json: can't be read: "),
    "deep result": ("result.json", b"[" * 200_000, "nested too deep"),
    "list": ("result.json", b"[1]", "result.json: is no result"),
    "overrides": ("overrides.json", b"{", "overrides.json: can't be read: "),
}


@pytest.mark.parametrize("name", list(STRANGE))
def test_a_strangers_files(name: str, runs: Path) -> None:
    """Told in a line, and the other runs are listed as ever."""
    file, content, reason = STRANGE[name]
    (runs / "2" / file).write_bytes(content)
    assert reason in (read(runs / "2").broken or "")
    done = typed("runs sweep")
    assert done.code == 0
    assert [row[:2] for row in _rows(done.out)[1:3]] == [["2", "broken"], ["10", "finished"]]
    assert not Path("ran").exists()
    assert typed("runs best sweep").code == 0


def test_what_is_no_file(runs: Path) -> None:
    (runs / "folder" / "config.yaml").mkdir(parents=True)
    (runs / "pipe").mkdir()
    os.mkfifo(runs / "pipe" / "config.yaml")
    found = {run.path.name: run.broken for run in find(runs)}
    assert found["folder"] == found["pipe"] == "config.yaml: can't be read: is no file"


def test_strange_values_do_not_reach_the_terminal(runs: Path) -> None:
    (runs / "2" / "overrides.json").write_text(json.dumps(["steps=\x1b[2J\x07", "seed=$(touch ran)"]))
    text = (runs / "2" / "config.yaml").read_text()
    (runs / "2" / "config.yaml").write_text(text.replace("precision: f32", 'precision: "\\e[2J"'))
    (runs / "2" / "metrics.jsonl").unlink()
    for command in ("runs sweep", "runs compare sweep", "runs best sweep --metric accuracy"):
        done = typed(command)
        assert done.code == 0
        assert "\x1b" not in done.out + done.err
        assert "\x07" not in done.out
    assert "'seed=$(touch ran)'" in done.out


def test_scores_that_are_no_numbers(runs: Path) -> None:
    path = runs / "10" / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "validation": {"loss": float("nan"), "accuracy": "high"}, "steps": None}))
    assert json.loads(typed("runs best sweep --json").out)["run_dir"] == "sweep/2"
    assert read(path.parent).scores == {
        "test/loss": 1.5, "test/accuracy": 0.6, "parameters": 610.0, "seconds": result["seconds"],
    }  # fmt: skip


def test_links_and_hidden_folders_are_left_alone(runs: Path) -> None:
    (runs / "loop").symlink_to(runs, target_is_directory=True)
    shutil.copytree(runs / "2", runs / ".hydra")
    shutil.copytree(runs / "2", runs / "10" / "samples" / "2")
    assert [run.path.name for run in find(runs)] == ["2", "10", "11", "1", "broken"]
    shutil.move(runs / "below", runs / "samples")  # of no run
    assert [run.path.name for run in find(runs)] == ["2", "10", "11", "broken", "1"]
    (runs / "a" / "b" / "c" / "d").mkdir(parents=True)
    shutil.move(runs / "samples", runs / "a" / "b" / "c" / "d" / "e")
    assert "1" not in [run.path.name for run in find(runs)]  # too far down


def test_a_run_may_hold_runs(runs: Path) -> None:
    shutil.copy(runs / "2" / "config.yaml", runs / "config.yaml")
    rows = _rows(typed("runs sweep").out)
    assert [row[0] for row in rows[1:]] == ["sweep", "2", "10", "11", "below/there/1", "broken"]


def test_narrow_terminals(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.cli import runs as verbs

    monkeypatch.setattr(verbs, "terminal_width", lambda: 60)
    done = typed("runs sweep")
    assert max(map(len, done.out.splitlines())) <= 60
    assert _rows(done.out)[0] == ["run", "state", "seed", "validation/loss"]
    assert done.err.splitlines()[0].startswith("no room for: steps, learning_rate, test/loss, ")
    assert columns.terminal_width() is None  # a test's output is no terminal


def test_columns() -> None:
    shown = [Column("a", ["x"], worth=ALWAYS), Column("number", ["1"], right=True), Column("b", ["yyyy"], worth=1)]
    assert render(shown, None) == ("a  number  b\nx       1  yyyy\n", [])
    assert render(shown, 15) == ("a  number  b\nx       1  yyyy\n", [])
    assert render(shown, 14) == ("a  b\nx  yyyy\n", ["number"])
    assert render([Column("a", ["x" * 9], worth=ALWAYS)], 4) == ("a\nxxxx\n", [])
