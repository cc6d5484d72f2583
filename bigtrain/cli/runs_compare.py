"""`bigtrain runs compare`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bigtrain.cli.columns import ALWAYS, Column, render, terminal_width
from bigtrain.cli.runs import differing, found, place, printable, scored, tell_broken, value
from bigtrain.config.errors import InputError
from bigtrain.run.directory import RunDirectory
from bigtrain.run.found import FoundRun, read
from bigtrain.run.monitor import mode_of


def compare_runs(paths: Sequence[Path], *, as_json: bool) -> None:
    """Prints in which keys and by how much in scores the runs differ: a row a key or a metric, a column a run."""
    everything, root = _gathered(paths)
    runs = [run for run in everything if run.broken is None]
    if len(runs) < 2:
        tell_broken(everything, root)
        raise InputError(f"{len(runs)} run to compare\n  bigtrain runs compare RUN RUN, or a folder that holds several")
    keys, metrics = differing(runs), _metrics(runs)
    if as_json:
        config = {key: {str(run.path): run.config.get(key) for run in runs} for key in keys}
        scores = {name: {str(run.path): run.scores.get(name) for run in runs} for name in metrics}
        sys.stdout.write(
            json.dumps({"runs": [str(run.path) for run in runs], "config": config, "scores": scores}) + "\n"
        )
        return
    rows = [_best_marked(name, runs) for name in metrics]
    columns = [Column("", [*map(printable, keys), *map(printable, metrics)], worth=ALWAYS)]
    for at, run in enumerate(runs):
        cells = [value(run, key) for key in keys] + [row[at] for row in rows]
        columns.append(Column(place(run, root), cells, right=True, worth=ALWAYS if at < 2 else 0))
    if len(runs) == 2:
        columns.append(
            Column("difference", [""] * len(keys) + [_difference(name, runs) for name in metrics], right=True, worth=1)
        )
    text, left = render(columns, terminal_width())
    sys.stdout.write(text)
    if left:
        print(f"no room for: {', '.join(left)}; name fewer, or --json has all", file=sys.stderr)
    if any(cell.endswith("*") for row in rows for cell in row):
        print("* the best of the row", file=sys.stderr)
    tell_broken(everything, root)


def _gathered(paths: Sequence[Path]) -> tuple[list[FoundRun], Path]:
    """The runs that were named, and those of the folders that were; and the folder that holds them all."""
    runs: list[FoundRun] = []
    for path in paths:
        runs += [read(path)] if RunDirectory.exists(path) and len(paths) > 1 else found(path)
    once = list({run.path.resolve(): run for run in runs}.values())
    above = Path(os.path.commonpath([path.absolute() for path in paths]))
    return once, above.parent if len(once) == 1 else above


def _metrics(runs: Sequence[FoundRun]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    return sorted(names, key=lambda name: (not name.startswith("validation/"), not name.startswith("test/"), name))


def _best_marked(name: str, runs: Sequence[FoundRun]) -> list[str]:
    """The scores of a metric, with a star at the best; of what is no score nothing is best."""
    cells = list(scored(name, runs).cells)
    known = [run.scores[name] for run in runs if name in run.scores]
    if "/" not in name or len(set(known)) < 2:
        return [f"{cell} " for cell in cells]
    top = min(known) if mode_of(name) == "min" else max(known)
    return [cell + ("*" if run.scores.get(name) == top else " ") for run, cell in zip(runs, cells, strict=True)]


def _difference(name: str, runs: Sequence[FoundRun]) -> str:
    left, right = (run.scores.get(name) for run in runs)
    return "-" if left is None or right is None else f"{right - left:+.4g}"
