"""Steps done again from a checkpoint, to find the first of them whose result is not finite.

Training is a function of the state, the seed and the step, bit for bit and however it is cut into dispatches. So the
steps since a checkpoint can be done again, one at a time at the end, with nothing kept for it in the hot path.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from bigtrain.data.placement import Dispatch, Feed, Resident, Streamed
from bigtrain.parallel.pulse import beat
from bigtrain.train.finite import is_finite
from bigtrain.train.program import Program
from bigtrain.train.state import TrainState


@dataclass(frozen=True)
class Found:
    """A step whose result is not finite, the step of the checkpoint before it, and whether the loss at least was."""

    step: int
    start: int
    applied: bool


@dataclass(frozen=True)
class Replay:
    """A run's steps from a checkpoint on.

    Args:
        program: the compiled steps.
        placement: gives each dispatch its data.
        numbers: the hyperparameters, on the devices.
        restore: makes the state of the checkpoint, anew at each call, and says its step.
    """

    program: Program
    placement: Resident | Streamed
    numbers: Any
    restore: Callable[[], tuple[TrainState, int]]

    def first_broken(self, good: int, last: int) -> Found | None:
        """The first step of (good, last] after which the state or the loss is not finite; None if there is none.

        The steps up to `good` are known to be fine.
        """
        state, start = self.restore()
        first = max(good, start)
        state = self._advanced(state, start, first)
        for dispatch, feed in self._feeds([Dispatch(at, 1) for at in range(first, last)]):
            state, metrics = self.program.advance(state, feed, 1, self.numbers)
            beat()
            lost = not np.isfinite(jax.device_get(metrics["loss"].total)).all()
            if lost or not is_finite(state.as_dict()):
                return Found(dispatch.step + 1, start, applied=not lost)
        return None

    def before(self, step: int) -> tuple[TrainState, Feed]:
        """The state that step number `step` starts from, and the feed that has its batch."""
        feeds = list(self._feeds([Dispatch(step - 1, 1)]))
        return self._advanced(*self.restore(), step - 1), feeds[0][1]

    def _advanced(self, state: TrainState, start: int, step: int) -> TrainState:
        """The state after `step` steps, from the one after `start`."""
        capacity = self.placement.capacity
        plan = [Dispatch(at, min(capacity, step - at)) for at in range(start, step, capacity)]
        for dispatch, feed in self._feeds(plan):
            state, _ = self.program.advance(state, feed, dispatch.number, self.numbers)
            jax.block_until_ready(state)  # else the feeds of all of them would be in memory together
            beat()
        return state

    def _feeds(self, plan: list[Dispatch]) -> Iterator[tuple[Dispatch, Feed]]:
        """The data of some dispatches, read by a thread: it takes longer to start processes than to do these steps."""
        if isinstance(self.placement, Streamed):
            return dataclasses.replace(self.placement, workers=0).feeds(plan)
        return self.placement.feeds(plan)
