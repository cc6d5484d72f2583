"""What `metrics.csv` and `metrics.jsonl` of a run hold, as rows of text."""

from __future__ import annotations

import csv
import json
from pathlib import Path


def rows_of(run: Path) -> list[dict[str, str]]:
    """The rows of the table, without empty cells."""
    with open(run / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def lines_of(run: Path) -> list[dict[str, str]]:
    """What the lines of metrics.jsonl are as rows."""
    rows: dict[int, dict[str, str]] = {}
    for text in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        assert not rows.get(line["step"], {}).keys() & line.keys() - {"step", "epoch"}, "a line is repeated"
        rows.setdefault(line["step"], {}).update({name: str(value) for name, value in line.items()})
    return [rows[step] for step in sorted(rows)]
