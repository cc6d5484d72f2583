"""What a sweep says of itself: its keys, how far it came, and the command that goes on."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
from command import bigtrain
from made_sweep import LOSS

from bigtrain.cli import sweep_report
from bigtrain.sweep.results import Sweep
from bigtrain.sweep.trial import Trial

SMALL = ("model.widths=[4]", "steps=20", "batch_size=16", "eval_every=10", "log_every=10", "logger=jsonl")


def sweep(folder: Path, *more: str) -> list[str]:
    return ["fit", "-m", *SMALL, f"sweep_dir={folder}", *more]


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("search", ["grid", "nsga2"])
def test_what_every_sweep_takes_is_shown_with_each_search(search: str) -> None:
    found = bigtrain("configs", "sweep", search, "--json")
    shown = {row["key"]: row["default"] for row in json.loads(found.out)["fields"]}
    common = {"objectives": [], "score": "last", "timeout": None, "retry": False, "params": {}}
    assert {key: shown.get(f"sweep.{key}", "absent") for key in common} == common


@pytest.mark.parametrize(
    ("typed", "meant"), [("timout=5s", "timeout"), ("objective=accuracy", "objectives"), ("retr=true", "retry")]
)
def test_a_misspelled_key_of_every_sweep(typed: str, meant: str) -> None:
    found = bigtrain("fit", "-m", "seed=1,2", f"sweep.{typed}")
    assert found.code == 2
    assert f"did you mean sweep.{meant}?" in found.err
    assert "allowed: objectives, score, timeout, retry, params" in found.err


def test_time_is_up(tmp_path: Path) -> None:
    """It is said, with the command that goes on; a trial that rests is not done."""
    typed = ("sweep=halving", "sweep.eta=2", "sweep.rungs=2", "seed=range(4)")
    found = bigtrain(*sweep(tmp_path / "none", *typed, "sweep.timeout=0.001s"))
    assert found.code == 0, found.err
    assert "time is up (sweep.timeout=0.001s)" in found.err
    assert f"sweep_dir={tmp_path / 'none'}" in found.err.splitlines()[-1]


def test_a_trial_that_rests_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.sweep.around import Around

    folder, over = tmp_path / "rests", Around.over
    typed = sweep(folder, "sweep=halving", "sweep.eta=2", "sweep.rungs=2", "seed=range(4)")

    def once_all_rest(self: Around) -> bool:
        return over(self) or len(list(folder.glob("trials/*/trial.json"))) == 4

    with monkeypatch.context() as patch:
        patch.setattr(Around, "over", once_all_rest)
        found = bigtrain(*typed, "sweep.timeout=1h")
    assert found.code == 0, found.err
    assert "time is up (sweep.timeout=1h)" in found.err
    assert "trials      4 resting" in found.out
    assert "best        none yet: no trial has trained to its end" in found.out
    assert [(row["state"], row["steps"]) for row in rows(folder)] == [("resting", "10")] * 4
    assert "resting at 50%" in (folder / "report.html").read_text()
    ended = bigtrain(*typed, "sweep.timeout=1h")
    assert ended.code == 0, ended.err
    assert "time is up" not in ended.err
    assert "trials      2 done, 2 pruned" in ended.out


def test_a_sweep_that_ends_as_time_is_up_has_nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.sweep.around import Around

    folder = tmp_path / "sweep"
    monkeypatch.setattr(Around, "over", lambda self: len(list(folder.glob("trials/*/trial.json"))) == 2)
    found = bigtrain(*sweep(folder, "seed=1,2", "sweep.timeout=1h"))
    assert (found.code, "time is up" in found.err) == (0, False), found.err


def test_the_best_is_repeated_with_the_options_of_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "my configs" / "model").mkdir(parents=True)
    own = tmp_path / "my configs"
    (own / "model" / "mine.yaml").write_text("_target_: bigtrain.models.mlp.MLP\nwidths: [4]\n")
    folder = tmp_path / "sweep"
    typed = ("model=mine", "seed=1,2", "steps=20", "logger=jsonl", f"sweep_dir={folder}")
    found = bigtrain("fit", "-m", *typed, "--config-dir", str(own), "--trust", "numpy")
    assert found.code == 0, found.err
    again = next(line for line in found.out.splitlines() if line.startswith("again")).removeprefix("again")
    assert again.endswith(f" --config-dir {shlex.quote(str(own))} --trust numpy")
    assert bigtrain(*shlex.split(again)[1:], "--dry-run").code == 0
    assert found.out.count(" --trust numpy") == 2  # evaluate builds the model, too
    assert f"--config-dir &#x27;{own}&#x27; --trust numpy</pre>" in (folder / "report.html").read_text()
    best = bigtrain("runs", "best", str(folder))
    assert "note    add --config-dir FOLDER, the one that has model=mine\n" in best.out


def test_a_best_that_is_a_copy_is_said_to_be_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = Sweep(tmp_path, "", (), ("seed",), (LOSS,), (Trial(3, {"seed": "1"}, "3", "done", 1.0, 1, {1.0: (0.5,)}),))
    sweep_report.result(found, as_json=False)
    out = capsys.readouterr().out
    assert "again       bigtrain fit seed=1\n            note: trial 3 went on from the state of trial 1:\n" in out


def test_the_best_of_a_population_is_not_repeated_by_its_values(tmp_path: Path) -> None:
    folder = tmp_path / "population"
    typed = ("sweep=population", "sweep.members=2", "sweep.rounds=2", "optimizer.learning_rate=interval(1e-4,1e-1)")
    found = bigtrain(*sweep(folder, *typed))
    assert found.code == 0, found.err
    child = next(row for row in rows(folder) if row["parent"])
    trial = folder / child["run_dir"]
    note = f"it went on from the state of {int(child['parent']):04d}: this trains its values from the start"
    told = bigtrain("runs", "best", str(trial), "--json")
    assert json.loads(told.out)["notes"] == [note]
    assert f"note    {note}\n" in bigtrain("runs", "best", str(trial)).out
    plain = next(row for row in rows(folder) if not row["parent"] and row["state"] == "done")
    assert json.loads(bigtrain("runs", "best", str(folder / plain["run_dir"]), "--json").out)["notes"] == []
    (trial / "overrides.json").write_text("{}")
    told = bigtrain("runs", "best", str(trial))
    assert "repeat" not in told.out
    assert "note    overrides.json is missing or no list: what was typed is not known\n" in told.out
