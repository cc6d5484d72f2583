"""What a sweep consists of: trials, and what a search proposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["waiting", "running", "done", "pruned", "failed"]
"""`pruned` is what a search has given up before its last step; `failed` is what diverged or could not run."""

ENDED = ("done", "pruned", "failed")


@dataclass(frozen=True)
class Objective:
    """One number that a sweep looks for the best value of.

    Args:
        name: a metric of the validation split, or `parameters`.
        mode: whether a smaller or a larger value is better.
    """

    name: str
    mode: Literal["min", "max"]

    def better(self, left: float, right: float) -> bool:
        """Whether `left` beats `right`."""
        return left < right if self.mode == "min" else left > right


@dataclass(frozen=True)
class Proposal:
    """A configuration that a search wants to know the scores of.

    Args:
        values: the swept keys and their values, as they would be typed.
        until: the share of the run's steps after which it rests: 1 trains to the end. Its schedule is of the whole run.
        trial: the number of the trial that is to go on to `until`; None for a new one.
        parent: the number of the trial whose last state a new one starts from (population-based training).
    """

    values: Mapping[str, str]
    until: float = 1.0
    trial: int | None = None
    parent: int | None = None


@dataclass(frozen=True)
class Trial:
    """One run of a sweep, as the ledger knows it.

    Args:
        number: counts the trials of a sweep from 0, in the order in which they were proposed.
        values: the swept keys and their values, as they would be typed.
        directory: its run directory, relative to the sweep's.
        state: see `State`; a trial that rests at its `until` is `done` as far as it was asked to go.
        until: the share of its steps that it was last asked to train.
        parent: the trial that its state was taken from.
        scores: the objectives by the share of its steps at which they were measured, in the order of the sweep's
            objectives.
        steps: optimizer steps done.
        seconds: how long it trained, of wall time.
        error: why it failed, in a line.
    """

    number: int
    values: Mapping[str, str]
    directory: str
    state: State = "waiting"
    until: float = 1.0
    parent: int | None = None
    scores: Mapping[float, tuple[float, ...]] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    error: str | None = None

    @property
    def last(self) -> tuple[float, ...] | None:
        """The objectives where it was measured last; None before."""
        return self.scores[max(self.scores)] if self.scores else None

    @property
    def shown(self) -> str:
        """Its state in a word for people and tables: `resting` is what is done as far as it was asked to go."""
        return "resting" if self.state == "done" and self.until < 1.0 else self.state


def best(trials: Any, objective: Objective, at: int = 0) -> Trial | None:
    """The trial whose objective number `at` is the best, of those that trained to their end; None without one."""
    ended = [trial for trial in trials if trial.state == "done" and trial.until >= 1.0 and trial.last is not None]
    sign = 1 if objective.mode == "min" else -1
    return min(ended, key=lambda trial: (sign * trial.last[at], trial.number), default=None)
