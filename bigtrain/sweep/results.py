"""A sweep as a report is made from it, and `results.csv`: a row a trial."""

from __future__ import annotations

import csv
import io
import math
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from bigtrain.sweep.trial import Objective, Trial


@dataclass(frozen=True)
class Sweep:
    """What a report is made from.

    Args:
        directory: the sweep's folder; the trials' run directories are below it.
        command: what was typed.
        base: the overrides that all trials share.
        keys: the swept keys, in order.
        objectives: what the sweep looks for the best of; the first decides which trial is the best.
        trials: all trials, by number.
        seconds: wall time of the sweep so far; 0 where nobody measured it.
        flags: the options that a later command has to repeat, ` --config-dir … --trust …`, as the shell takes them.
    """

    directory: Path
    command: str
    base: tuple[str, ...]
    keys: tuple[str, ...]
    objectives: tuple[Objective, ...]
    trials: tuple[Trial, ...]
    seconds: float = 0.0
    flags: str = ""

    def repeat(self, trial: Trial) -> str:
        """The command that trains this trial's configuration once more."""
        values = [f"{key}={trial.values[key]}" for key in self.keys if key in trial.values]
        return f"bigtrain fit {shlex.join([*self.base, *values])}{self.flags}"


def score(trial: Trial, at: int = 0) -> float | None:
    """The objective number `at` where it was measured last, `drawable`, if it is a number that can be compared."""
    last = trial.last
    return drawable(last[at]) if last is not None and math.isfinite(last[at]) else None


def drawable(value: float) -> float:
    """A number within ±1e300: of larger ones, sums and differences overflow, and a chart would have no axis."""
    return min(max(value, -1e300), 1e300)


def rows(sweep: Sweep) -> list[list[str]]:
    """The header and a row a trial, as text; nothing in it depends on a clock or on the machine."""
    names = [objective.name for objective in sweep.objectives]
    lineage = any(trial.parent is not None for trial in sweep.trials)
    found = [["trial", "state", *sweep.keys, *names, "steps", *(["parent"] if lineage else []), "run_dir", "error"]]
    for trial in sorted(sweep.trials, key=lambda trial: trial.number):
        scores = [repr(float(value)) for value in trial.last] if trial.last is not None else [""] * len(names)
        parent = [] if not lineage else ["" if trial.parent is None else str(trial.parent)]
        values = [trial.values.get(key, "") for key in sweep.keys]
        place = [str(trial.steps), *parent, Path(trial.directory).as_posix(), trial.error or ""]
        found.append([str(trial.number), trial.shown, *values, *scores, *place])
    return found


def write_csv(sweep: Sweep) -> Path:
    """Writes `results.csv` (RFC 4180) whole or not at all; numbers read back as the very same numbers."""
    text = io.StringIO()
    csv.writer(text).writerows(rows(sweep))
    path = sweep.directory / "results.csv"
    write_whole(path, text.getvalue().encode())
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: a reader sees the one before or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes may work on a sweep
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
