"""`metrics.csv`: one row a step, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path


class CSV:
    """A table in metrics.csv: a row a logged step, a column a metric; written anew when a new metric appears."""

    def __init__(self, *, directory: Path, resumed: int | None = None) -> None:
        """Opens the table.

        Args:
            directory: the run directory.
            resumed: the step a run continues from; later rows are dropped, they will be written again.
        """
        self._path = directory / "metrics.csv"
        self._rows: dict[int, dict[str, object]] = {}
        if resumed is not None and self._path.is_file():
            with open(self._path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if (row.get("step") or "").isdigit() and int(row["step"]) <= resumed:
                        self._rows[int(row["step"])] = {name: value for name, value in row.items() if value}
        self._columns: list[str] = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        self._written = -1

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds to the row of the step; see `Logger`."""
        known = step in self._rows
        self._rows.setdefault(step, {"step": step}).update(scalars)
        new = [name for name in self._rows[step] if name not in self._columns]
        self._columns += new
        if new or known or self._written != len(self._rows) - 1:
            self._rewrite()
        else:
            with open(self._path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(self._rows[step])
        self._written = len(self._rows)

    def close(self) -> None:
        """See `Logger`."""
        self._rewrite()

    def _rewrite(self) -> None:
        with open(self._path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows.values())
