"""`metrics.jsonl`: one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bigtrain.run.history import read_lines
from bigtrain.tracking.append import Appended


class JSONL:
    """Lines of JSON in metrics.jsonl, flushed as they come; a resumed run has no gap and no repeated line."""

    continues = True  # see `Tolerant`

    def __init__(self, *, directory: Path, resumed: int | None = None) -> None:
        """Opens the file.

        Args:
            directory: the run directory.
            resumed: the step a run continues from; lines of later steps are dropped, they will be written again.
        """
        path = directory / "metrics.jsonl"
        kept = [] if resumed is None else [line for line in read_lines(path) if line["step"] <= resumed]
        partial = path.with_suffix(".partial")
        with open(partial, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in kept)
            file.flush()
            os.fsync(file.fileno())  # what it replaces is on the disk, and so is this
        os.replace(partial, path)
        self._file = Appended(path)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """One line; see `Logger`."""
        self.log_all([(step, scalars)])

    def log_all(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Several lines; see `Tolerant`."""
        self._file.write("".join(json.dumps({"step": step, **scalars}) + "\n" for step, scalars in lines))

    def close(self) -> None:
        """See `Logger`."""
        self._file.close()
