"""Ratios of paired measurements, and how far they spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and the quartiles around it."""

    median: float
    low: float
    high: float
    number: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Quartiles by linear interpolation between the sorted values.

        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("no measurement was taken")
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The ratios ours / theirs, round by round: what slows the machine in a round slows both.

    Raises:
        ValueError: there are not as many of one as of the other.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} measurements can't be paired with {len(theirs)}")
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def best_of(times: Mapping[str, Sequence[float]]) -> str:
    """The name whose median time is least."""
    return min(times, key=lambda name: statistics.median(times[name]))


def far(losses: Mapping[str, float], tolerance: float) -> dict[str, float]:
    """The losses further than `tolerance` (a share) from the median of all; one that isn't a number is among them."""
    real = [value for value in losses.values() if value == value]
    if not real:
        return dict(losses)
    middle = statistics.median(real)
    return {name: value for name, value in losses.items() if not abs(value - middle) <= tolerance * abs(middle)}


def planned(seconds_a_step: Mapping[str, float], seconds: float, cap: float = 4.0) -> dict[str, int]:
    """Steps of each side's timings: the same number for all, `seconds` long for the fastest of them.

    A side that would take more than `cap` times as long does fewer.
    """
    least = min(seconds_a_step.values())
    steps = max(1, round(seconds / least))
    return {name: max(1, min(steps, round(cap * seconds / each))) for name, each in seconds_a_step.items()}
