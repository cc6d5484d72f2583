"""Types that say which values a config field takes; a constructor annotates its arguments with them.

The check reads these names from the source, so it works before JAX, or the module that uses them, is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """An interval; an open end excludes its bound."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def admits(self, value: float) -> bool:
        """Whether `value` lies within; NaN never does."""
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return bool(above and below)

    def __str__(self) -> str:
        if self.high is None:
            return f"{'above' if self.low_open else 'at least'} {self.low:g}"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"within {left}{self.low:g}, {self.high:g}{right}"


PositiveInt = Annotated[int, Bounds(low=1)]
NonNegativeInt = Annotated[int, Bounds(low=0)]
PositiveFloat = Annotated[float, Bounds(low=0.0, low_open=True)]
NonNegativeFloat = Annotated[float, Bounds(low=0.0)]
Fraction = Annotated[float, Bounds(low=0.0, high=1.0)]
Factor = Annotated[float, Bounds(low=1.0, low_open=True)]
Rate = Annotated[float, Bounds(low=0.0, high=1.0, high_open=True)]  # a share that may not be everything: dropout

Steps = Annotated[float, "duration"]  # given as 2000, "10epochs", "5%" or "1_000_000examples"; arrives as steps
Component = Annotated["dict[str, object]", "component"]  # a node with `_target_`, chosen from a config group
Share = Annotated[float, Bounds(low=0.0)]  # below 1 a fraction of the examples, from 1 on a number of them
