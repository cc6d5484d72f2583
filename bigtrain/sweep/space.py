"""What a sweep varies: one dimension for each key that was given several values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dimension:
    """The values of one key: a list of choices, or an interval.

    Args:
        key: the dotted path of the key, or a config group.
        choices: the values as they would be typed after `key=`; empty for an interval.
        low: the smallest value of an interval.
        high: its largest.
        log: whether the logarithm is what varies evenly.
        integer: whether an interval holds whole numbers only.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False

    @property
    def continuous(self) -> bool:
        """Whether this is an interval: a grid can't list it."""
        return not self.choices

    def text(self, value: float) -> str:
        """A number of the interval as it would be typed: read back, it is the very same number."""
        return str(round(value)) if self.integer else repr(float(value))


Space = tuple[Dimension, ...]
