"""Learning curves of the trials, read from their run directories and thinned out for drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigtrain.run.history import read_lines
from bigtrain.sweep.results import Sweep, drawable

Curve = tuple[tuple[int, float], ...]
"""Steps and values, by step."""

POINTS = 200  # of one curve at most
ALL_POINTS = 24_000  # of all curves of one chart: about 300 kB of the page


def read(sweep: Sweep) -> dict[str, dict[int, Curve]]:
    """Curves by metric (`train/loss`, `validation/loss`, the objectives) and number of the trial."""
    names = ["train/loss", "validation/loss"]
    names += [f"validation/{objective.name}" for objective in sweep.objectives if objective.name != "parameters"]
    wanted = list(dict.fromkeys(names))
    most = max(min(POINTS, ALL_POINTS // max(len(sweep.trials), 1)), 12)
    found: dict[str, dict[int, Curve]] = {name: {} for name in wanted}
    for trial in sweep.trials:
        lines = read_lines(Path(sweep.directory) / trial.directory / "metrics.jsonl")
        for name in wanted:
            points = _points(lines, name)
            if points:
                found[name][trial.number] = thinned(points, most)
    return {name: curves for name, curves in found.items() if curves}


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """What is a number, by step; of a step that was logged twice, the later."""
    steps = {line["step"]: line.get(name) for line in lines if name in line}
    numbers = [(step, value) for step, value in steps.items() if isinstance(value, (int, float))]
    return sorted((step, drawable(float(value))) for step, value in numbers if math.isfinite(value))


def thinned(points: Sequence[tuple[int, float]], most: int) -> Curve:
    """At most `most` of the points: both ends, and the lowest and the highest of each stretch, so that peaks stay."""
    if len(points) <= most:
        return tuple(points)
    inner, stretches = points[1:-1], max((most - 2) // 2, 1)
    kept = [points[0]]
    for at in range(stretches):
        part = inner[at * len(inner) // stretches : (at + 1) * len(inner) // stretches]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return (*kept, points[-1])
