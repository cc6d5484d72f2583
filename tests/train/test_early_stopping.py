"""A run ends when its validation score no longer improves: at the same step however it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import typed
from support import final_state, interrupted_at, metrics_of, prepared, run_fit, state_hash, write_npz

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import EarlyStoppingConfig
from bigtrain.train.early_stopping import EarlyStopping
from bigtrain.train.hooks import Interrupted

# no score is better by 10 nats: the first evaluation is the best, and each one after it counts
SHORT = ("model.widths=[8]", "steps=20", "batch_size=16", "eval_every=3", "log_every=2", "steps_per_dispatch=1")
STOPPED = (*SHORT, "early_stopping.min_delta=10")


def decisions(scores: list[float], patience: int | None, min_delta: float = 0.0, mode: Any = "min") -> list[bool]:
    cfg = EarlyStoppingConfig(patience, min_delta)
    table = {step: {"loss": score} for step, score in enumerate(scores)}
    saved: list[int] = []
    hook = EarlyStopping(1, cfg, "loss", mode, table, lambda step, state: saved.append(step))
    found = [hook(step, None) for step in table]  # type: ignore[arg-type]
    assert saved == [step for step, ended in enumerate(found) if ended]
    return found


def test_it_ends_after_so_many_evaluations_without_improvement() -> None:
    assert decisions([3, 2, 2.5, 2.1, 1.9, 2.0, 2.0], 2) == [False, False, False, True, False, False, True]
    assert decisions([3, 2, 2.5, 1.9, 2.0, 2.0, 1.8], 2) == [False, False, False, False, False, True, False]
    assert decisions([1, 2, 3], 1, mode="max") == [False, False, False]
    assert decisions([3, 2, 1], 1, mode="max") == [False, True, True]
    assert decisions([1, 2, 3, 4], None) == [False] * 4


def test_an_improvement_must_exceed_min_delta() -> None:
    assert decisions([1.0, 0.96, 0.92], 2, 0.1) == [False, False, True]
    assert decisions([1.0, 0.96, 0.89], 2, 0.1) == [False, False, False]


@pytest.mark.parametrize("stop", [2, 5, 7])
def test_resumed_equals_uninterrupted(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = (*STOPPED, "early_stopping.patience=2")
    whole = run_fit(tmp_path / "whole", *chosen)
    assert whole["stopped_early"] == {"step": 9, "of": 20, "evaluations": 2}
    assert whole["steps"] == 9
    with interrupted_at(monkeypatch, stop), pytest.raises(Interrupted):
        run_fit(tmp_path / "cut", *chosen)
    assert run_fit(tmp_path / "cut", *chosen)["stopped_early"] == whole["stopped_early"]
    assert metrics_of(tmp_path / "cut") == metrics_of(tmp_path / "whole")
    states = [final_state(tmp_path / name, *chosen) for name in ("whole", "cut")]
    assert state_hash(states[0]) == state_hash(states[1])


def test_a_run_killed_before_its_scores_were_written_has_ended_all_the_same(tmp_path: Path) -> None:
    chosen = (*STOPPED, "early_stopping.patience=2")
    whole = run_fit(tmp_path / "run", *chosen)
    (tmp_path / "run" / "result.json").unlink()
    again = run_fit(tmp_path / "run", *chosen)
    assert (again["steps"], again["test"]) == (9, whole["test"])


def test_more_patience_continues_as_if_there_had_been_more_from_the_start(tmp_path: Path) -> None:
    run_fit(tmp_path / "cut", *STOPPED, "early_stopping.patience=1")
    cut = run_fit(tmp_path / "cut", *STOPPED, "early_stopping.patience=4")
    whole = run_fit(tmp_path / "whole", *STOPPED, "early_stopping.patience=4")
    assert cut["stopped_early"] == whole["stopped_early"] == {"step": 15, "of": 20, "evaluations": 4}
    assert cut["test"] == whole["test"]
    to_the_end = run_fit(tmp_path / "cut", *STOPPED, "early_stopping.patience=null")
    assert (to_the_end["steps"], to_the_end["stopped_early"]) == (20, None)


def test_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = f"fit {' '.join(STOPPED)} early_stopping.patience=2 run_dir=r"
    first = typed(command)
    assert "stopped     early, at step 9 of 20: 2 evaluations without a better score\n" in first.out
    assert first.out.endswith("next        bigtrain evaluate r --checkpoint best\n")
    assert json.loads(Path("r/result.json").read_text())["stopped_early"]["step"] == 9
    again = typed(command)
    assert "r is finished: it stopped early at step 9 of 20. To train it further:\n" in again.err
    assert "  bigtrain fit run_dir=r early_stopping.patience=4\n" in again.err
    assert again.out == first.out


def test_without_a_validation_split_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "set.npz")
    with pytest.raises(ConfigError, match=r"early_stopping.patience: data 'set' has no validation split\n.*=0.1"):
        prepared(*SHORT, "data=npz", f"data.path={path}", "data.validation=0", "early_stopping.patience=2")
