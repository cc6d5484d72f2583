"""The training loop: the whole truth in a page.

A run is a sequence of dispatches. Each is one call of the compiled program that performs some optimizer steps on the
device; between two of them, hooks log, evaluate, show and save. How long a dispatch is depends on the clock only
through `Pace`, and the result doesn't depend on it at all: the program is the same for any number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from bigtrain.data.placement import Dispatch, Placement
from bigtrain.run.clock import Clock
from bigtrain.train.hooks import Hook
from bigtrain.train.pace import AgreedPace, Pace
from bigtrain.train.program import Program
from bigtrain.train.state import TrainState


def train(
    program: Program,
    placement: Placement,
    hooks: Sequence[Hook],
    state: TrainState,
    numbers: Mapping[str, Any],
    *,
    start: int,
    steps: int,
    pace: Pace | AgreedPace,
    clock: Clock,
) -> TrainState:
    """Trains from step `start` to step `steps`, or until a hook ends the run, and returns the final state.

    Args:
        program: the compiled steps.
        placement: gives each dispatch its data.
        hooks: called after a dispatch that ends on a step at which they are due, and after the last one, in order.
        state: the state after `start` steps; its memory is reused, so it must not be used again.
        numbers: the hyperparameters, on the devices.
        start: steps already done.
        steps: steps of the whole run.
        pace: decides how many steps the next dispatch takes.
        clock: is told of the time spent waiting for data; the hooks tell it of theirs.
    """
    for dispatch, feed in clock.each("data wait", placement.feeds(dispatches(start, steps, hooks, pace))):
        state, metrics = program.advance(state, feed, dispatch.number, numbers)
        pace.launched(dispatch, metrics)  # waits for the dispatch before this one, so the device always has work
        done, ended = dispatch.step + dispatch.number, False
        for hook in hooks:
            hook.record(dispatch, metrics, state)
            if done in (hook.after(done - 1), steps):
                ended = bool(hook(done, state)) or ended
                pace.interrupted()
        if ended:  # early stopping: further training doesn't pay
            break
    jax.block_until_ready(state)  # the clock stops when the device does
    return state


def dispatches(start: int, steps: int, hooks: Sequence[Hook], pace: Pace | AgreedPace) -> Iterator[Dispatch]:
    """Cuts the steps from `start` to `steps` into dispatches; none runs past a step at which a hook is due."""
    step = start
    while step < steps:
        due = min([steps, *(hook.after(step) for hook in hooks)])
        number = min(pace.steps, due - step)
        yield Dispatch(step, number)
        step += number
