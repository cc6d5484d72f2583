"""Rungs: the shares of a run at which its score decides whether it goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.sweep.random_search import configurations
from bigtrain.sweep.space import MOST, Space, combinations, identity, is_listed, size
from bigtrain.sweep.trial import Objective, Proposal, Trial

CLOSE = 1e-9
"""Shares that differ by less are the same: they are sums and quotients of floats."""


def shares(eta: int, rungs: int) -> tuple[float, ...]:
    """The shares of a run at its rungs, each `eta` times the one before, up to 1."""
    return tuple(1 / eta ** (rungs - 1 - rung) for rung in range(rungs))


def score_at(trial: Trial, share: float) -> float | None:
    """The first objective when a trial had done `share` of its steps; None if it failed by then or diverged.

    A run is evaluated after whole steps, or may have stopped early: the measurement nearest to `share` is taken.
    """
    failed = trial.state == "failed" and trial.until <= share + CLOSE
    if failed or not trial.scores:
        return None
    score = trial.scores[min(trial.scores, key=lambda measured: abs(measured - share))][0]
    return score if math.isfinite(score) else None


def order(trials: Sequence[Trial], share: float, objective: Objective) -> list[int]:
    """The places of the trials that have a score at `share`, the best first; of equal ones the earlier first."""
    sign = 1 if objective.mode == "min" else -1
    scores = [score_at(trial, share) for trial in trials]
    return [
        place for _, place in sorted((sign * score, place) for place, score in enumerate(scores) if score is not None)
    ]


@dataclass(frozen=True)
class Bracket:
    """Configurations that start together, of which one in `eta` goes on from each rung to the next.

    Args:
        values: the configurations, one a trial; none is there twice.
        shares: the shares of a run at the rungs, the last of them 1.
        eta: how many trials compete for each place on the next rung.
        objective: what they are judged by.
    """

    values: tuple[Mapping[str, str], ...]
    shares: tuple[float, ...]
    eta: int
    objective: Objective

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many trials reach each rung where none fails; at least one reaches the last."""
        return tuple(max(1, len(self.values) // self.eta**rung) for rung in range(len(self.shares)))

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """What the bracket wants next of all trials of the sweep; empty at its end.

        The rungs are gone through from the first: what was decided there follows from the scores that are known.
        """
        known = {identity(trial.values): trial for trial in trials}
        own = [known.get(identity(values)) for values in self.values]
        members = [trial for trial in own if trial is not None]
        if len(members) < len(own):
            missing = (values for values, trial in zip(self.values, own, strict=True) if trial is None)
            return [Proposal(values, until=self.shares[0]) for values in missing]
        for share, places in zip(self.shares, self.sizes, strict=True):
            # what was given up stays so: only a sweep that was given more trials since would want it back
            members = [trial for trial in members if trial.state != "pruned" or trial.until > share - CLOSE][:places]
            waiting = [trial for trial in members if trial.until < share - CLOSE]
            if waiting:
                return [Proposal(trial.values, until=share, trial=trial.number) for trial in waiting]
            members = [members[place] for place in order(members, share, self.objective)]
        return []


def candidates(space: Space, trials: int | None, seed: int, *, otherwise: int | None = None) -> list[dict[str, str]]:
    """The configurations that compete, none twice: of a grid, shuffled; else random ones.

    Args:
        space: what is swept.
        trials: how many; None takes the whole grid, or `otherwise` where an interval is swept.
        seed: fixes the order of the grid, and what is drawn.
        otherwise: what a search takes of an interval if it isn't told.
    """
    whole = size(space)
    if trials is not None and whole is not None and trials > whole:
        problem = f"{trials:,} is more than there are combinations"
        raise ConfigError("sweep.trials", problem, allowed=f"at most {whole:,}")
    if is_listed(space) and whole is not None and whole <= MOST:
        grid = list(combinations(space))
        return [grid[place] for place in np.random.default_rng(seed).permutation(len(grid))[:trials]]
    if trials is None and otherwise is None:
        problem = "is needed: an interval is no list, and a grid of more than a million no plan"
        raise ConfigError("sweep.trials", problem, allowed="an integer at least 1", hint="e.g. sweep.trials=27")
    return list(islice(configurations(space, seed), trials or otherwise))


def check_eta(eta: int) -> None:
    """Refuses a factor with which nothing would be given up."""
    if eta < 2:
        raise ConfigError("sweep.eta", f"{eta} is not allowed", allowed="an integer at least 2")
