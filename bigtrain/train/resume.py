"""Where a run begins: its newest checkpoint that is intact, or a fresh state; with the data it began with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

from bigtrain.checkpoint import Checkpoints, Damaged
from bigtrain.config.errors import InputError
from bigtrain.data import fingerprint
from bigtrain.parallel import allocator, distributed
from bigtrain.train.prepare import Prepared
from bigtrain.train.recover import Rollback
from bigtrain.train.sharding import bytes_on_a_device
from bigtrain.train.state import TrainState


@dataclass(frozen=True)
class Start:
    """Where a run begins: a state, its step, and the log window that was in flight."""

    state: TrainState
    step: int
    window: dict[str, list[float]]
    waiting: dict[str, Any]  # what early stopping has counted
    data: fingerprint.Fingerprint = field(default_factory=dict)
    skips: dict[str, Any] = field(default_factory=dict)  # the steps that were left out
    rollbacks: list[Rollback] = field(default_factory=list)  # where the run has gone back
    made: dict[str, Any] = field(default_factory=dict)  # what the state came from


def begin(
    ready: Prepared, checkpoints: Checkpoints, numbers: Any, say: Callable[..., None] = lambda text, style="": None
) -> Start:
    """The newest checkpoint that is intact, or a fresh state where there is none; `say` is told of damaged ones.

    Raises:
        InputError: all checkpoints are damaged, or the data is not what it was.
    """
    allocator.give_back()  # what an earlier run of this process has left in pieces: 2 to 10 MB each of W2, 100 of W5
    with allocator.apart(bytes_on_a_device(ready.program.abstract)):
        return _begun(ready, checkpoints, numbers, say)


def _begun(ready: Prepared, checkpoints: Checkpoints, numbers: Any, say: Callable[..., None]) -> Start:
    data = distributed.current().shared("data", lambda: ready.once.fingerprint(ready.dataset))
    steps = checkpoints.steps()
    damaged: dict[int, str] = {}
    for step in reversed(steps):
        try:
            meta = checkpoints.meta(step)
            check_data(checkpoints, step, meta, data, say)
            state = TrainState(**checkpoints.restore(step, ready.program.abstract.as_dict()))
        except InputError as error:
            problem = str(error) if isinstance(error, Damaged) else checkpoints.problem(step)
            if problem is None:
                raise
            damaged[step] = problem
            continue
        _fall_back(checkpoints, damaged, step, say)
        window, waiting, skips, made = (meta.get(name) or {} for name in ("window", "early_stopping", "skips", "made"))
        return Start(state, step, window, waiting, data, skips, meta.get("rollbacks") or [], made)
    if damaged:
        raise InputError(_all_damaged(checkpoints, damaged))
    return Start(jax.block_until_ready(ready.program.init(numbers)), 0, {}, {}, data)


def check_data(
    checkpoints: Checkpoints, step: int, meta: dict[str, Any], data: fingerprint.Fingerprint, say: Callable[..., None]
) -> None:
    """Refuses to go on with other examples than those of the checkpoint."""
    before = meta.get("data") or data
    changes = fingerprint.changes(before, data)
    if changes:
        lines = "".join(f"\n  {line}" for line in changes)
        hint = "bring the data back as it was, or train in a new run_dir"
        raise InputError(f"data: is not what the run had at step {step:,} ({checkpoints.path(step)}){lines}\n  {hint}")
    if fingerprint.touched(before, data):
        say("note: files of the data were written since; all that was looked at in them is as before", style="yellow")


def _fall_back(checkpoints: Checkpoints, damaged: dict[int, str], step: int, say: Callable[..., None]) -> None:
    for bad, problem in damaged.items():
        say(f"warning: checkpoint of step {bad:,}: {problem}", style="yellow")
        checkpoints.set_aside(bad)
    if damaged:
        say(f"going on from step {step:,}, the newest that is intact", style="yellow")


def _all_damaged(checkpoints: Checkpoints, damaged: dict[int, str]) -> str:
    lines = "".join(f"\n  {problem}" for problem in damaged.values())
    hint = "bring one back from a copy; or delete them all to begin at step 0, or choose another run_dir"
    return f"{checkpoints.directory}: no checkpoint is intact{lines}\n  {hint}"
