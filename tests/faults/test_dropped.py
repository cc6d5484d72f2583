"""The test of the tests: each part of what a run is, dropped at resume, changes the end of the run.

A comparison that would pass without the batch statistics, say, would not have noticed that they were lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from faults.counted import counted
from support import interrupted_at, metrics_of

from bigtrain.checkpoint import Checkpoints
from bigtrain.cli.fit import understood
from bigtrain.config.compose import to_yaml
from bigtrain.config.errors import InputError
from bigtrain.data.load import load_data
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.tracking.console import Console
from bigtrain.train import fit as fitting
from bigtrain.train.hooks import Interrupted
from bigtrain.train.prepare import prepare
from bigtrain.train.resume import Start

RUN = [
    "model.widths=[8]", "model.norm=batch", "model.dropout=0.1", "batch_size=16", "logger=jsonl", "steps=24",
    "log_every=8", "eval_every=24", "checkpoint.every=24", "ema=0.9", "steps_per_dispatch=1", "schedule=cosine",
]  # fmt: skip
Trained = Callable[[Path], None]


@pytest.fixture(scope="module")
def trained() -> Trained:
    """`bigtrain fit` of one program, compiled once."""
    composed, checked, trusted = understood(RUN, None, [])
    ready = prepare(checked, trusted, load_data(checked, trusted))

    def train(folder: Path) -> None:
        there = RunDirectory.exists(folder)
        directory = RunDirectory(folder) if there else RunDirectory.create(folder, to_yaml(composed.written), RUN)
        fitting.fit(ready, checked, trusted, directory, Console(quiet=True), Clock(), alone=False)

    return train


@pytest.fixture(scope="module")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    trained(folder)
    return folder


def ending(run: Path) -> tuple[str, list[dict[str, float]]]:
    return Checkpoints(run / "checkpoints").meta(24)["state"]["sha256"], metrics_of(run)


def resumed(
    trained: Trained, run: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Start], Start]
) -> tuple[str, list[dict[str, float]]]:
    """The end of a run that was interrupted at step 13 and went on from what `change` makes of its start."""
    with interrupted_at(monkeypatch, 13), pytest.raises(Interrupted):
        trained(run)
    assert RunDirectory(run).saved() == [13], "in the middle of a log window"
    intact = fitting.begin
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "begin", lambda *given: change(intact(*given)))
        with contextlib.suppress(InputError):  # a run whose state is not of its last step says so, after it was saved
            trained(run)
    return ending(run)


def fresh(leaves: Any) -> Any:
    """As if it had not been saved: zeros, of the same types and shardings."""
    return jax.tree.map(lambda leaf: jax.device_put(jnp.zeros(leaf.shape, leaf.dtype), leaf.sharding), leaves)


def of_state(name: str) -> Callable[[Start], Start]:
    def change(start: Start) -> Start:
        left = dataclasses.replace(start.state, **{name: fresh(getattr(start.state, name))})
        assert jax.tree.leaves(getattr(start.state, name)), f"there is no {name} that could be lost"
        return dataclasses.replace(start, state=left)

    return change


DROPPED: dict[str, Callable[[Start], Start]] = {
    name: of_state(name) for name in ("step", "params", "rest", "opt_state", "ema")
}


def test_nothing_dropped_is_the_whole_run(
    trained: Trained, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resumed(trained, tmp_path / "run", monkeypatch, lambda start: start) == ending(whole)


@pytest.mark.parametrize("name", DROPPED)
def test_a_dropped_part_changes_the_hash(
    name: str, trained: Trained, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resumed(trained, tmp_path / "run", monkeypatch, DROPPED[name])[0] != ending(whole)[0]
    counted(f"the test of the tests: {name} dropped at resume", seen=1)


def test_a_dropped_log_window_changes_the_metrics(
    trained: Trained, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, lines = resumed(trained, tmp_path / "run", monkeypatch, lambda start: dataclasses.replace(start, window={}))
    assert state == ending(whole)[0]
    assert lines != ending(whole)[1]
    counted("the test of the tests: the log window dropped at resume", seen=1)
