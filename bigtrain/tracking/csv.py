"""`metrics.csv`: one row a step, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigtrain.run.history import read_lines
from bigtrain.tracking.append import Appended


class CSV:
    """A table in metrics.csv: a row a logged step, a column a metric; written anew when a new metric appears.

    A run that is continued has each row once. Rows that are lost (the file was cut or deleted) come from metrics.jsonl,
    where there is one.
    """

    continues = True  # see `Tolerant`

    def __init__(self, *, directory: Path, resumed: int | None = None) -> None:
        """Opens the table.

        Args:
            directory: the run directory.
            resumed: the step a run continues from; later rows are dropped, they will be written again.
        """
        self._path = directory / "metrics.csv"
        self._rows: dict[int, dict[str, object]] = {}
        if resumed is not None:
            self._rows = _kept(self._path, read_lines(directory / "metrics.jsonl"), resumed)
        self._columns: list[str] = []
        self._file = Appended(self._path)
        self._open: int | None = None  # the step whose row may still grow
        self._settled: int | None = None  # the step whose row is in the file already, should it grow yet
        self._rewrite(list(dict.fromkeys(name for row in self._rows.values() for name in row)))
        self._settled = resumed

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds to the row of the step, which is written when the next step comes; see `Logger`."""
        self.log_all([(step, scalars)])

    def log_all(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Several lines; see `Tolerant`."""
        steps = dict.fromkeys([] if self._open is None else [self._open])
        for step, scalars in lines:
            self._rows.setdefault(step, {"step": step}).update(scalars)
            steps[step] = None
        *ended, last = steps
        self._write_rows(ended, last)
        self._open = last

    def settle(self) -> None:
        """Writes the row that may still grow: a checkpoint stands for it; see `Tolerant`."""
        if self._open is not None:
            self._write_rows([self._open])
            self._settled, self._open = self._open, None

    def close(self) -> None:
        """See `Logger`."""
        self.settle()
        self._file.close()

    def _write_rows(self, steps: Sequence[int], growing: int | None = None) -> None:
        """Appends the rows of some steps; a new metric makes a new column, and that a new file, without `growing`.

        A row that has grown after it was written makes a new file, too.
        """
        rows = [self._rows[step] for step in steps]
        new = dict.fromkeys(name for row in rows for name in row if name not in self._columns)
        if rows and (new or self._settled in steps or not self._path.exists()):
            self._rewrite([*self._columns, *new], growing)
        elif rows:
            text = io.StringIO(newline="")
            csv.DictWriter(text, self._columns).writerows(rows)
            self._file.write(text.getvalue())

    def _rewrite(self, columns: list[str], growing: int | None = None) -> None:
        partial = self._path.with_suffix(".partial")
        with open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(row for step, row in self._rows.items() if step != growing)
            file.flush()
            os.fsync(file.fileno())  # what it replaces is on the disk, and so is this
        os.replace(partial, self._path)
        self._file.close()  # the one that was replaced
        self._columns, self._settled = columns, None


def _kept(path: Path, lines: Sequence[Mapping[str, Any]], last: int) -> dict[int, dict[str, object]]:
    """The rows up to a step, in order: those of the file, and what lines of JSON have of steps that it has lost."""
    rows: dict[int, dict[str, object]] = {}
    if path.is_file():
        for row in csv.DictReader(io.StringIO(_whole_lines(path))):
            if (row.get("step") or "").isdecimal():
                rows[int(row["step"])] = {name: value for name, value in row.items() if name and value}
    lost: dict[int, dict[str, object]] = {}
    for line in lines:
        if line["step"] not in rows:
            lost.setdefault(line["step"], {}).update(line)
    return {step: row for step, row in sorted({**rows, **lost}.items()) if step <= last}


def _whole_lines(path: Path) -> str:
    """The file up to its last line end: a crash may have cut the rest short, and half a number is a number too."""
    text = path.read_bytes().decode("utf-8", errors="replace").replace("\0", "")
    return text[: text.rfind("\n") + 1]
