"""What a sweep says of itself: its keys, how far it came, and the command that goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command import bigtrain

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
