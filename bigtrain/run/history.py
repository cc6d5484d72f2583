"""The metric lines of a run: those on disk, and those logged since, for the learning curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class History:
    """Keeps every line of a run, whatever its loggers are; lines of an earlier part of the run come first."""

    def __init__(self, lines: Sequence[Mapping[str, Any]] = ()) -> None:
        self.lines: list[dict[str, Any]] = [dict(line) for line in lines]

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """One line, as a `Logger` takes it."""
        self.lines.append({"step": step, **scalars})

    def close(self) -> None:
        """Nothing to write."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics.jsonl; one cut short by a crash is left out, a missing file has none."""
    lines = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines
