"""One trial as a job: what to type, how it is judged, and what became of it."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bigtrain.config.compose import parse
from bigtrain.config.errors import BigtrainError
from bigtrain.config.overrides import key_of
from bigtrain.config.secrets import hidden
from bigtrain.config.sweep_schema import Score
from bigtrain.run.history import read_lines
from bigtrain.sweep.trial import Objective
from bigtrain.train.finite import Diverged
from bigtrain.train.skips import TooManySkips

OUTCOME = "trial.json"
ERROR = "error.txt"
DIVERGED, MISSING, INFINITE = "training diverged", "is missing", "is not finite"
SURE_TO_FAIL = (DIVERGED, MISSING, INFINITE)
"""How the errors end that a job would meet again."""

MOST_BYTES = 1 << 16  # an outcome is a few hundred bytes
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        state: `waiting` is what was interrupted, and goes on where it was saved.
        scores: the objectives, in their order; None where there are none.
        stop_at: where it was told to rest, as typed; None for its last step.
        steps: optimizer steps done.
        seconds: of wall time.
        error: why it failed, in a line.
        machine: whether what failed is not the trial but what is around it, as a full disk.
    """

    state: Literal["done", "failed", "waiting"]
    scores: tuple[float, ...] | None = None
    stop_at: str | None = None
    steps: int = 0
    seconds: float = 0.0
    error: str | None = None
    machine: bool = False

    def write(self, directory: Path) -> None:
        """Writes it down in the run directory, whole or not at all."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = directory / f".{OUTCOME}.partial"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(partial, directory / OUTCOME)

    @classmethod
    def read(cls, directory: Path) -> Outcome | None:
        """What a run directory says became of its job; None where nothing is written or can be used."""
        path = directory / OUTCOME
        try:
            if path.is_symlink() or path.stat().st_size > MOST_BYTES:
                return None
            found = json.loads(path.read_text(encoding="utf-8"))
            scores = None if found["scores"] is None else tuple(float(value) for value in found["scores"])
            return cls(**{**found, "scores": scores})
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


def forget(directory: Path) -> None:
    """Takes away what a run directory says became of a job that is to run anew; what was trained there stays."""
    for name in (OUTCOME, ERROR):
        (directory / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Judge:
    """How a run's result becomes the scores of its trial.

    Args:
        objectives: what is looked at.
        score: that of the last step, or the best of all evaluations.
    """

    objectives: tuple[Objective, ...]
    score: Score = "last"

    def outcome(self, result: Mapping[str, Any], stop_at: str | None) -> Outcome:
        """What a run that ended or rests has come to; scores that are not finite are a failure."""
        directory, validation = Path(result["run_dir"]), result.get("validation") or {}
        took = {"stop_at": stop_at, "steps": int(result["steps"]), "seconds": float(result.get("seconds", 0.0))}
        scores = []
        for objective in self.objectives:
            value = result.get("parameters") if objective.name == "parameters" else validation.get(objective.name)
            if self.score == "best" and objective.name != "parameters":
                value = self._best(objective, directory, value)
            if value is None or not math.isfinite(value):
                problem = MISSING if value is None else INFINITE
                return Outcome("failed", error=f"the validation {objective.name} {problem}", **took)
            scores.append(float(value))
        return Outcome("done", tuple(scores), **took)

    @staticmethod
    def _best(objective: Objective, directory: Path, last: float | None) -> float | None:
        name = f"validation/{objective.name}"
        values = [line[name] for line in read_lines(directory / "metrics.jsonl") if name in line]
        values = [*values, *([last] if last is not None else [])]
        return (min if objective.mode == "min" else max)(values, default=None)


def run_dir_of(overrides: Sequence[str]) -> Path:
    """The run directory that a job was given."""
    return Path(typed(overrides, "run_dir") or "")


def typed(overrides: Sequence[str], key: str) -> str | None:
    """What was typed for a key, the last time, without quotes; None where it wasn't."""
    found = [text for text in overrides if key_of(text) == key and "=" in text]
    return _value(found[-1]) if found else None


@functools.lru_cache(4096)  # Hydra's grammar takes a millisecond
def _value(text: str) -> str | None:
    given = parse(text)
    return None if given is None or given.value is None else str(given.value)


def failure(error: Exception, stop_at: str | None) -> Outcome:
    """The outcome of a job that an error has ended."""
    if isinstance(error.__cause__, (Diverged, TooManySkips)):  # when that was noticed depends on the clock
        return Outcome("failed", stop_at=stop_at, error=DIVERGED)
    text = hidden(str(error) if isinstance(error, BigtrainError) else f"{type(error).__name__}: {error}")
    line = (text.strip().splitlines() or [type(error).__name__])[0][:500]
    return Outcome("failed", stop_at=stop_at, error=line, machine=of_the_machine(error))


def of_the_machine(error: BaseException | None) -> bool:
    """Whether a failing disk, or too many open files, is behind an error: any other trial would meet it too."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _MACHINE:
            return True
        if "No space left" in str(error) or "the disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
