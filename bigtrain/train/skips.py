"""The steps of a run of which the update was left out: how many, which, and how many in a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

REMEMBERED = 100  # skipped steps that are kept by number, for people


@dataclass
class Skips:
    """Counts skipped steps; it is saved with every checkpoint.

    Args:
        limit: so many in a row are allowed.
        counts: whether the program skips any; else nothing is logged.
    """

    limit: int = 0
    counts: bool = False
    total: int = 0
    row: int = 0  # skipped in a row until now
    steps: list[int] = field(default_factory=list)  # the newest of them

    def add(self, start: int, skipped: Iterable[Any]) -> None:
        """The steps after step `start`: not 0 for each that was skipped.

        Raises:
            TooManySkips: once more in a row were skipped than is allowed.
        """
        for step, refused in enumerate(skipped, start + 1):
            if not refused:
                self.row = 0
                continue
            self.total, self.row = self.total + 1, self.row + 1
            self.steps = [*self.steps, step][-REMEMBERED:]
            if self.row > self.limit:
                raise TooManySkips(step, self.row)

    def scalars(self) -> dict[str, float]:
        """For the loggers: steps skipped since the run began."""
        return {"train/skipped": float(self.total)} if self.counts else {}

    def as_json(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"total": self.total, "row": self.row, "steps": self.steps}

    @classmethod
    def of(cls, limit: int, stored: Mapping[str, Any], *, counts: bool) -> Skips:
        """The count that a checkpoint has kept."""
        return cls(limit, counts, stored.get("total", 0), stored.get("row", 0), list(stored.get("steps", ())))

    def told(self) -> list[str]:
        """What to say of it at the end of the run."""
        if not self.total:
            return []
        shown = ", ".join(f"{step:,}" for step in self.steps[-10:])
        earlier = "…, " if self.total > 10 else ""
        what = "1 step was" if self.total == 1 else f"{self.total:,} steps were"
        return [f"{what} skipped: {earlier}{shown}"]


class TooManySkips(Exception):
    """So many steps in a row were skipped, the last of them `step`."""

    def __init__(self, step: int, row: int) -> None:
        super().__init__(f"{row} steps in a row were skipped, the last of them step {step}")
        self.step, self.row = step, row
