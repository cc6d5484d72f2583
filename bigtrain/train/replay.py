"""A part of a run once more: from one checkpoint to another, to see whether the same state comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import ConfigError
from bigtrain.parallel import distributed
from bigtrain.run.clock import Clock
from bigtrain.train.fit import paced
from bigtrain.train.loop import train
from bigtrain.train.prepare import Prepared
from bigtrain.train.recover import Rollback, moved_on
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
    ready: Prepared, checkpoints: Checkpoints, part: Segment, rollbacks: Sequence[Rollback] = (), turn: int = 0
) -> TrainState:
    """The state after the steps of a segment; nothing is logged, evaluated or saved.

    Of a run in several processes, all take part.

    Args:
        ready: the compiled run.
        checkpoints: of the run.
        part: what is replayed.
        rollbacks: where the run has gone back and left out batches, as the checkpoint at its end says.
        turn: counts the replays of one command.
    """
    distributed.current().barrier("compiled")  # as when it was trained: gloo doesn't wait for one that still compiles
    numbers = ready.program.numbers(ready.values)
    if part.begin:
        state = TrainState(**checkpoints.restore(part.begin, ready.program.abstract.as_dict()))
    else:
        state = ready.program.init(numbers)
    back = [entry["step"] for entry in rollbacks if part.begin < entry["step"] < part.end]
    stops = [part.begin, *dict.fromkeys(back), part.end]
    for number, (begin, end) in enumerate(pairwise(stops)):  # the order of the data moved on at each
        placement = moved_on(ready.placement, [entry for entry in rollbacks if entry["step"] <= begin])
        position = {"start": begin, "steps": end}
        state = train(
            ready.program,
            placement,
            [],
            state,
            numbers,
            pace=paced(ready, turn * len(stops) + number),
            clock=Clock(),
            **position,
        )
    return state
