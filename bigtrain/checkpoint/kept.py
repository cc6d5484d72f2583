"""Which checkpoints are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Best:
    """The best checkpoint so far and its score."""

    step: int
    score: float


def kept(steps: Sequence[int], last: int, best: int | None, every: int | None) -> set[int]:
    """The newest `last`, the best, and those of multiples of `every`.

    Args:
        steps: all there are, ascending.
        last: how many of the newest.
        best: the step with the best score, if any has one.
        every: None for no multiples.
    """
    found = set(steps[-last:]) | ({best} & set(steps))
    return found | {step for step in steps if every is not None and step % every == 0}
