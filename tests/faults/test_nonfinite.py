"""What is not finite: a value in the data, a loss that explodes, statistics alone; and each answer to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sources import BAD, broken, example, fitted, saved, states_at, steps_with, trained
from support import interrupted_at, losses_of, metrics_of, state_hash

from bigtrain.checkpoint import Checkpoints, leaves, manifest
from bigtrain.config.errors import InputError, RunError
from bigtrain.optim import spikes
from bigtrain.train.hooks import Interrupted
from bigtrain.train.replay import Segment, replay

INDEX = example()
HUGE = 1e25  # its square is not a number in f32, and it divided by its own deviation is 0: the variance alone breaks


def test_the_fault_is_where_these_tests_take_it_to_be() -> None:
    assert BAD in steps_with(INDEX)
    assert steps_with(INDEX) == [6, 17, 27, 32]


@pytest.mark.parametrize("steps", ["1", "16"])
def test_stop_names_the_step_and_the_example_however_the_run_is_cut(
    steps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(INDEX), tmp_path / "run", f"steps_per_dispatch={steps}", "checkpoint.every=5")
    lines = str(raised.value).splitlines()
    assert lines[0] == "training diverged: the loss of step 6 is not finite; checkpoints up to step 5 are intact"
    assert lines[1] == f"  first: the data itself: inputs, in example {INDEX}"
    assert lines[2].startswith("  its batch: examples ")
    assert lines[3] == "  repair these examples"
    assert saved(tmp_path / "run") == [5]
    told = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert (told["step"], told["not_finite"]) == (6, [INDEX])
    assert INDEX in told["examples"]
    assert len(told["examples"]) == 8


def test_a_run_that_stopped_goes_on_from_its_checkpoint_without_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="the loss of step 6 "):
        trained(monkeypatch, broken(INDEX), tmp_path / "run", "checkpoint.every=5")
    result = trained(monkeypatch, broken(INDEX), tmp_path / "run", "checkpoint.every=5", "on_nonfinite=skip")
    assert result["steps"] == 40
    assert result["notes"] == ["4 steps were skipped: 6, 17, 27, 32"]


def test_an_exploding_loss_names_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(None), tmp_path / "run", "optimizer=sgd", "optimizer.learning_rate=1e30")
    assert "training diverged: the loss of step 2 is not finite; no checkpoint had been saved yet" in str(raised.value)
    assert "  first: the output of output\n" in str(raised.value)
    assert "try a smaller optimizer.learning_rate" in str(raised.value)
    assert saved(tmp_path / "run") == []


def test_an_update_that_overflows_is_told_from_a_loss_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large gradient times a large rate."""
    chosen = ("optimizer=sgd", "optimizer.learning_rate=3e38", "steps=4", "eval_every=4")
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(example(1), 1e10), tmp_path / "run", *chosen)
    assert "the update of step 1 is not finite" in str(raised.value)
    assert "  first: the parameter " in str(raised.value)


def test_statistics_alone_are_enough_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(INDEX, HUGE), tmp_path / "run", "model.norm=batch")
    assert str(raised.value).startswith("training diverged: the update of step 6 is not finite; no checkpoint")
    assert "  first: the statistic norms.0.var\n" in str(raised.value)
    assert saved(tmp_path / "run") == []


def test_scores_that_are_not_finite_end_the_run_though_training_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="the validation loss of step 20 is not finite; checkpoints up to step 10"):
        trained(monkeypatch, broken(3, split="validation"), tmp_path / "run")


@pytest.mark.parametrize(("value", "model"), [(float("nan"), ()), (HUGE, ("model.norm=batch",))])
def test_skip_leaves_the_state_as_it_was(
    value: float, model: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, chosen = broken(INDEX, value), ("on_nonfinite=skip", "checkpoint.every=1", "ema=0.9", "steps=7", *model)
    ready, result = fitted(monkeypatch, data, tmp_path / "run", *chosen)
    assert result["notes"] == ["1 step was skipped: 6"]
    states = states_at(ready, tmp_path / "run", 5, 6, 7)
    assert [int(state.pop("step")) for state in states] == [5, 6, 7]
    before, after, later = map(state_hash, states)
    assert before == after != later


def test_skipped_steps_are_counted_in_the_metrics_and_have_no_part_in_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(monkeypatch, broken(INDEX), tmp_path / "run", "on_nonfinite=skip", "log_every=1")
    lines = {line["step"]: line for line in metrics_of(tmp_path / "run") if "train/skipped" in line}
    assert [step for step in lines if "train/loss" not in lines[step]] == [6, 17, 27, 32]
    assert [lines[step]["train/skipped"] for step in (5, 6, 16, 17, 40)] == [0, 1, 1, 2, 4]
    assert np.isfinite(losses_of(tmp_path / "run")).all()


@pytest.mark.parametrize("how", ["skip"])  # rollback runs the same program as stop
def test_a_run_without_faults_is_the_same_whatever_the_answer_to_them(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for name, chosen in {"plain": (), how: (f"on_nonfinite={how}",)}.items():
        ready, result = fitted(monkeypatch, broken(None), tmp_path / name, *chosen)
        assert "notes" not in result
        states.append(state_hash(states_at(ready, tmp_path / name, 40)))
    assert states[0] == states[1]


def test_more_skips_in_a_row_than_allowed_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is the whole set has the broken example at each step."""
    chosen = ("on_nonfinite=skip", "nonfinite_limit=3", "batch_size=80")
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(INDEX), tmp_path / "run", *chosen)
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("training diverged: 4 steps in a row were skipped, the last of them step 4; ")
    assert lines[1] == f"  first: the data itself: inputs, in example {INDEX}"


EACH = {"skip": ("on_nonfinite=skip",), "rollback": ("on_nonfinite=rollback",), "spikes": ("skip_spikes=10",)}


@pytest.mark.parametrize("how", EACH)
def test_scanned_equals_looped_and_resumed_equals_uninterrupted(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after the fault (and the checkpoint that follows it, or goes before it), and continued."""
    data = broken(example(12, 0), 1e4 if how == "spikes" else float("nan"))
    chosen = (*EACH[how], "eval_every=40", "batch_size=4", "checkpoint.every=20")
    notes = trained(monkeypatch, data, tmp_path / "whole", *chosen, "steps_per_dispatch=7")["notes"]
    assert notes, "the fault never came"
    with interrupted_at(monkeypatch, 37), pytest.raises(Interrupted):
        trained(monkeypatch, data, tmp_path / "cut", *chosen, "steps_per_dispatch=1")
    ready, again = fitted(monkeypatch, data, tmp_path / "cut", *chosen, "steps_per_dispatch=1")
    assert again["notes"] == notes
    states = [states_at(ready, tmp_path / name, 40) for name in ("whole", "cut")]
    assert state_hash(states[0]) == state_hash(states[1])
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "cut")


def test_rollback_is_the_run_from_the_checkpoint_on_with_later_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same from a healthy run of that length that is told, when it goes on, what it has left out."""
    late = next(index for index in range(80) if steps_with(index)[0] == 9 and steps_with(index)[1] > 16)
    data, chosen = broken(late), ("on_nonfinite=rollback", "checkpoint.every=8")
    result = trained(monkeypatch, data, tmp_path / "run", *chosen, "steps=14")
    assert result["notes"] == ["went back to step 8, and on with the batches 1 further"]
    assert [line["step"] for line in metrics_of(tmp_path / "run") if "train/loss" in line] == [4, 8, 12, 14]
    trained(monkeypatch, data, tmp_path / "by-hand", *chosen, "steps=8")
    meta = tmp_path / "by-hand" / "checkpoints" / "000000008" / "meta.json"
    told = json.loads(meta.read_text())
    assert told["rollbacks"] == []
    meta.write_text(json.dumps({**told, "rollbacks": [{"step": 8, "batches": 1}]}))
    manifest.write(meta.parent, 8)
    ready, _ = fitted(monkeypatch, data, tmp_path / "by-hand", *chosen, "steps=14")
    states = [states_at(ready, tmp_path / name, 14) for name in ("run", "by-hand")]
    assert state_hash(states[0]) == state_hash(states[1])
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    for begin in (0, 8):  # as `bigtrain verify` does it
        replayed = replay(ready, checkpoints, Segment(begin, 14, True), checkpoints.meta(14)["rollbacks"])
        assert leaves.describe(replayed.as_dict()) == checkpoints.meta(14)["state"]["leaves"]
    checkpoints.close()


def test_a_run_that_goes_back_too_often_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("on_nonfinite=rollback", "nonfinite_limit=2", "batch_size=80")
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(INDEX), tmp_path / "run", *chosen)
    assert "the loss of step 1 is not finite" in str(raised.value)
    assert "  it has gone back 2 times (nonfinite_limit=2)\n" in str(raised.value)


@pytest.mark.parametrize("mesh", ["1", "4"])
def test_a_spike_is_left_out_on_any_mesh(mesh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spikes, "JUDGED", 3)
    chosen = ("skip_spikes=10", "mesh=data", f"mesh.data={mesh}", "checkpoint.every=1", "steps=7")
    ready, result = fitted(monkeypatch, broken(INDEX, 1e4), tmp_path / "run", *chosen)
    assert result["notes"] == ["1 step was skipped: 6"]
    states = states_at(ready, tmp_path / "run", 5, 6)
    assert [int(state.pop("step")) for state in states] == [5, 6]
    assert state_hash(states[0]) == state_hash(states[1])


def test_more_spikes_in_a_row_than_allowed_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that grows without end, here by a rate that is far too large."""
    monkeypatch.setattr(spikes, "JUDGED", 1)
    chosen = ("skip_spikes=1.0001", "nonfinite_limit=1", "optimizer=sgd", "optimizer.learning_rate=100")
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(None), tmp_path / "run", *chosen)
    lines = str(raised.value).splitlines()
    assert "2 steps in a row were skipped, the last of them step " in lines[0]
    assert "  its gradient is over 1.0001 times its running average (skip_spikes)" in lines


def test_no_spike_is_seen_before_there_is_an_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = trained(monkeypatch, broken(INDEX, 1e4), tmp_path / "run", "skip_spikes=10")
    assert result["notes"] == ["2 steps were skipped: 27, 32"], f"of {steps_with(INDEX)} those after step 20"


def test_what_can_be_changed_when_a_run_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(monkeypatch, broken(None), tmp_path / "run", "steps=4")
    trained(monkeypatch, broken(None), tmp_path / "run", "steps=6", "on_nonfinite=rollback", "nonfinite_limit=3")
    with pytest.raises(InputError, match="skip_spikes: None there, 9 here"):
        trained(monkeypatch, broken(None), tmp_path / "run", "steps=8", "skip_spikes=9")
