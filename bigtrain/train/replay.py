"""A part of a run once more: from one checkpoint to another, to see whether the same state comes out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import ConfigError
from bigtrain.run.clock import Clock
from bigtrain.train.fit import paced
from bigtrain.train.loop import train
from bigtrain.train.prepare import Prepared
from bigtrain.train.recover import moved_on
from bigtrain.train.state import TrainState


@dataclass(frozen=True)
class Segment:
    """The steps that are trained again, from 0 on if from the beginning; and whether a checkpoint is at their end."""

    begin: int
    end: int
    recorded: bool


def segment(saved: Sequence[int], begin: int | None, steps: int | None) -> Segment:
    """Which part of a run is replayed.

    Args:
        saved: the steps with a checkpoint, ascending; at least one.
        begin: where to begin; by default the last but one checkpoint, or 0 where there is only one.
        steps: how many; by default up to the next checkpoint.
    """
    starts = [0, *saved]
    if begin is None:
        begin = starts[-2]
    if begin not in starts:
        raise ConfigError("--checkpoint", f"there is no {begin}", allowed=map(str, starts))
    if steps is not None:
        return Segment(begin, begin + steps, begin + steps in saved)
    later = [step for step in saved if step > begin]
    if not later:
        hint = f"begin at an earlier one: {', '.join(map(str, starts[:-1]))}"
        raise ConfigError("--checkpoint", f"no checkpoint is later than step {begin}", hint=hint)
    return Segment(begin, later[0], True)


def replay(
    ready: Prepared, checkpoints: Checkpoints, part: Segment, rollbacks: Sequence[Mapping[str, int]] = ()
) -> TrainState:
    """The state after the steps of a segment; nothing is logged, evaluated or saved.

    Args:
        ready: the run.
        checkpoints: its checkpoints.
        part: the segment.
        rollbacks: where the run has gone back, as its newest checkpoint says: from there on it left batches out.
    """
    numbers = ready.program.numbers(ready.values)
    if part.begin:
        state = TrainState(**checkpoints.restore(part.begin, ready.program.abstract.as_dict()))
    else:
        state = ready.program.init(numbers)
    inside = {entry["step"] for entry in rollbacks if part.begin < entry["step"] < part.end}
    for first, last in itertools.pairwise(sorted({part.begin, part.end, *inside})):
        placement = moved_on(ready.placement, [entry for entry in rollbacks if entry["step"] <= first])
        state = train(
            ready.program, placement, [], state, numbers, start=first, steps=last, pace=paced(ready), clock=Clock()
        )
    return state
