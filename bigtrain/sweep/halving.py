"""Successive halving (Jamieson & Talwalkar 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.config.values import NonNegativeInt, PositiveInt
from bigtrain.sweep.rungs import Bracket, candidates, check_eta, shares
from bigtrain.sweep.search import left_behind
from bigtrain.sweep.space import Space, check_swept
from bigtrain.sweep.trial import Objective, Proposal, Trial


class Halving:
    """Trains all a little, and goes on with the best one in `eta`, rung by rung (Jamieson & Talwalkar 2016)."""

    def __init__(
        self,
        *,
        trials: PositiveInt | None = None,
        eta: PositiveInt = 3,
        rungs: PositiveInt = 4,
        seed: NonNegativeInt = 0,
        space: Space,
        objectives: tuple[Objective, ...],
    ) -> None:
        """Chooses the configurations.

        Args:
            trials: how many start; null takes the whole grid where all that is swept are lists.
            eta: of how many trials one goes on; the next rung is so many times as far.
            rungs: how often trials are compared, the end included; the first rung is at 1/eta^(rungs-1) of the steps.
            seed: fixes the order of the grid, or what is drawn where an interval is swept.
            space: what is swept.
            objectives: the first of them is what trials are compared by.
        """
        check_swept(space)
        check_eta(eta)
        values = candidates(space, trials, seed)
        self.trials = len(values)
        self.bracket = Bracket(tuple(values), shares(eta, rungs), eta, objectives[0])

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; a round is a rung."""
        return self.bracket.propose(trials)

    def given_up(self, trials: Sequence[Trial]) -> set[int]:
        """See `bigtrain.sweep.search.GivesUp`."""
        return left_behind(trials, self.propose(trials))
