"""`metrics.csv`: one row a step, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from bigtrain.tracking.append import Appended


class CSV:
    """A table in metrics.csv: a row a logged step, a column a metric; written anew when a new metric appears."""

    continues = True  # see `Tolerant`

    def __init__(self, *, directory: Path, resumed: int | None = None) -> None:
        """Opens the table.

        Args:
            directory: the run directory.
            resumed: the step a run continues from; later rows are dropped, they will be written again.
        """
        self._path = directory / "metrics.csv"
        self._rows: dict[int, dict[str, object]] = {}
        if resumed is not None and self._path.is_file():
            for row in csv.DictReader(io.StringIO(_whole_lines(self._path))):
                if (row.get("step") or "").isdecimal() and int(row["step"]) <= resumed:
                    self._rows[int(row["step"])] = {name: value for name, value in row.items() if name and value}
        self._columns: list[str] = []
        self._file = Appended(self._path)
        self._open: int | None = None  # the step whose row may still grow
        self._rewrite(list(dict.fromkeys(name for row in self._rows.values() for name in row)))

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds to the row of the step, which is written when the next step comes; see `Logger`."""
        if self._open is not None and step != self._open:
            self._write_row()
        self._open = step
        self._rows.setdefault(step, {"step": step}).update(scalars)

    def close(self) -> None:
        """See `Logger`."""
        if self._open is not None:
            self._write_row()
        self._file.close()

    def _write_row(self) -> None:
        """Appends the open row; a new metric makes a new column, and that a new file."""
        row = self._rows[self._open]  # type: ignore[index]
        new = [name for name in row if name not in self._columns]
        if new or not self._path.exists():
            self._rewrite([*self._columns, *new])
        else:
            line = io.StringIO(newline="")
            csv.DictWriter(line, self._columns).writerow(row)
            self._file.write(line.getvalue())
        self._open = None

    def _rewrite(self, columns: list[str]) -> None:
        partial = self._path.with_suffix(".partial")
        with open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows.values())
        os.replace(partial, self._path)
        self._file.close()  # the one that was replaced
        self._columns = columns


def _whole_lines(path: Path) -> str:
    """The file up to its last line end: a crash may have cut the rest short, and half a number is a number too."""
    text = path.read_bytes().decode("utf-8", errors="replace").replace("\0", "")
    return text[: text.rfind("\n") + 1]
