"""Durations: any length of training may be given in steps, epochs, examples or percent, and is converted once.

2000        2000 steps            10epochs            ten passes over the training set
5%          of `steps`            1_000_000examples   as many examples, counted with repetition
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Unit = Literal["steps", "epochs", "examples", "percent"]
_UNITS: dict[str, Unit] = {
    "": "steps", "step": "steps", "steps": "steps", "epoch": "epochs", "epochs": "epochs",
    "example": "examples", "examples": "examples", "%": "percent", "percent": "percent",
}  # fmt: skip
_PATTERN = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?(?:[eE][+]?\d+)?)\s*([a-z%]*)\s*")


class DurationError(ValueError):
    """Text that is no duration."""


@dataclass(frozen=True)
class Duration:
    """An amount of training in one of four units."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Reads `2000`, `"2000"`, `"10epochs"`, `"5%"` or `"1_000_000examples"`; raises `DurationError` otherwise."""
        if isinstance(value, Duration):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise DurationError(value)
        matched = _PATTERN.fullmatch(str(value))
        unit = _UNITS.get(matched[2]) if matched else None
        if matched is None or unit is None:
            raise DurationError(value)
        amount = float(matched[1].replace("_", ""))
        if not math.isfinite(amount) or (unit == "steps" and amount != int(amount)):
            raise DurationError(value)
        return cls(amount, unit)

    def steps(self, *, steps_per_epoch: float, batch_size: int, total: int | None = None) -> int:
        """The duration in whole steps, rounded up: enough steps to see every example that was asked for.

        Args:
            steps_per_epoch: training examples divided by the batch size.
            batch_size: examples a step.
            total: the steps of the whole run; None while that itself is being worked out.
        """
        if self.unit == "percent":
            if total is None:
                raise DurationError("a percentage needs the total number of steps")
            return math.ceil(round(self.amount * total / 100, 6))
        factor = {"steps": 1.0, "epochs": steps_per_epoch, "examples": 1 / batch_size}[self.unit]
        return math.ceil(round(self.amount * factor, 6))

    def __str__(self) -> str:
        suffix = {"steps": "", "epochs": "epochs", "examples": "examples", "percent": "%"}[self.unit]
        amount = int(self.amount) if self.amount == int(self.amount) else self.amount
        return f"{amount}{suffix}"
