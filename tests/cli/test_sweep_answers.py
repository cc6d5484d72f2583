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


def test_values_of_a_file_are_read_as_yaml_has_them(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    text = "_target_: bigtrain.sweep.grid.Grid\nparams: {seed: '1,2', clip_norm: null, profile: false, ema: 0.5}\n"
    (tmp_path / "mine" / "sweep" / "own.yaml").write_text(text)
    found = bigtrain("fit", *SMALL, "sweep=own", "--config-dir", str(tmp_path / "mine"), "--cfg")
    assert found.code == 0, found.err
    assert {"clip_norm: null", "profile: false", "ema: 0.5"} <= set(found.out.splitlines())


@pytest.mark.parametrize("verb", [("-m", "seed=1,2"), ("seed=1",)])
@pytest.mark.parametrize("name", ["50%", "a%20b", "a#b", "a?b", "a|b"])
def test_a_folder_below_which_no_checkpoint_could_be_saved(
    name: str, verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays are saved by a URL, in which these mean something else; those of `a%20b` came to `a b`."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    found = bigtrain("fit", *SMALL, *verb)
    assert found.code == 2, found.err
    assert "which no checkpoint can be saved below" in found.err
    assert list(folder.iterdir()) == list(tmp_path.glob("a b")) == []


@pytest.mark.parametrize("verb", [("-m", "seed=1,2", "sweep_dir=x\udcff"), ("-m", "seed=1,2"), ("seed=1",)])
def test_a_folder_that_is_not_utf8(verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("plain" if "udcff" in ascii(verb) else "b\udcff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(folder)
    found = bigtrain("fit", *SMALL, *verb)
    assert found.code == 2, found.err
    assert "\\udcff" in found.err
    assert "is not UTF-8" in found.err
    assert list(folder.iterdir()) == []


def test_an_objective_is_asked_for_once(tmp_path: Path) -> None:
    found = bigtrain(*sweep(tmp_path, "seed=1,2", "sweep.objectives=[loss,loss:max]"))
    assert (found.code, found.err.splitlines()[0]) == (2, "error: sweep.objectives: 'loss' is in it twice")


def test_the_direction_of_a_metric_is_what_the_runs_say() -> None:
    import dataclasses

    from bigtrain.cli.fit import understood
    from bigtrain.cli.sweep import objectives

    _, checked, _ = understood(["checkpoint.monitor=accuracy", "checkpoint.mode=min"], None, ())
    named = [dataclasses.astuple(item) for item in objectives(checked, ["accuracy", "loss"])]
    assert named == [("accuracy", "min"), ("loss", "min")]
    assert objectives(checked, ["accuracy:max"])[0].mode == "max"


def test_an_error_holds_no_value_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger, results.csv, report.html and the traceback that is kept are files."""
    from bigtrain.config import secrets
    from bigtrain.sweep.job import failure
    from bigtrain.sweep.member import failed

    monkeypatch.setenv("BIGTRAIN_TEST_TOKEN", "correct-horse")
    monkeypatch.setattr(secrets, "_NAMES", {"BIGTRAIN_TEST_TOKEN"})
    assert (
        failure(OSError("no answer to correct-horse"), None).error
        == "OSError: no answer to ${oc.env:BIGTRAIN_TEST_TOKEN}"
    )
    failed(ValueError("correct-horse"), tmp_path / "0", None)
    for path in (tmp_path / "0").iterdir():
        assert "correct-horse" not in path.read_text(), path


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        ("its process was killed by signal 9, as where memory runs out; see 0000.log.txt", True),
        ("training diverged", False),
    ],
)
def test_what_may_go_well_is_tried_again(
    error: str, retried: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trial = Trial(0, {"seed": "1"}, "0", "failed", error=error)
    sweep_report.result(Sweep(tmp_path, "bigtrain fit -m seed=1,2", (), ("seed",), (LOSS,), (trial,)), as_json=False)
    line = "retry       bigtrain fit -m seed=1,2 sweep.retry=true\n"
    assert (line in capsys.readouterr().out) == retried
