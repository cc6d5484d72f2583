"""Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh & Talwalkar 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.config.values import NonNegativeInt, PositiveInt
from bigtrain.sweep.rungs import Bracket, candidates, check_eta, shares
from bigtrain.sweep.search import left_behind
from bigtrain.sweep.space import Space, check_swept
from bigtrain.sweep.trial import Objective, Proposal, Trial


class Hyperband:
    """Several successive halvings at once, from many short runs to few whole ones (Li et al. 2018)."""

    def __init__(
        self,
        *,
        trials: PositiveInt | None = None,
        eta: PositiveInt = 3,
        brackets: PositiveInt = 4,
        seed: NonNegativeInt = 0,
        space: Space,
        objectives: tuple[Objective, ...],
    ) -> None:
        """Chooses the configurations of each bracket.

        Args:
            trials: how many start, shared out as in the paper; null takes the whole grid where all that is swept are
                lists, and else the paper's number (49 with eta 3 and 4 brackets).
            eta: of how many trials one goes on; the next rung is so many times as far.
            brackets: how many halvings there are; the first has as many rungs, the last trains whole runs only.
            seed: fixes the order of the grid, or what is drawn where an interval is swept.
            space: what is swept.
            objectives: the first of them is what trials are compared by.
        """
        check_swept(space)
        check_eta(eta)
        published = starting(eta, brackets)
        values = candidates(space, trials, seed, otherwise=sum(published))
        self.trials = len(values)
        self.brackets = []
        for index, size in enumerate(shared_out(len(values), published)):
            own, values = values[:size], values[size:]
            self.brackets.append(Bracket(tuple(own), shares(eta, brackets - index), eta, objectives[0]))

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; in a round, each bracket goes on by a rung."""
        return [proposal for bracket in self.brackets for proposal in bracket.propose(trials)]

    def given_up(self, trials: Sequence[Trial]) -> set[int]:
        """See `bigtrain.sweep.search.GivesUp`."""
        return left_behind(trials, self.propose(trials))


def starting(eta: int, brackets: int) -> list[int]:
    """How many configurations start in each bracket: ⌈B η^s / (s + 1)⌉ for s = B - 1 … 0 (algorithm 1)."""
    return [-(-brackets * eta**most // (most + 1)) for most in reversed(range(brackets))]


def shared_out(number: int, weights: Sequence[int]) -> list[int]:
    """`number` as a sum of whole numbers in proportion to `weights`: the largest remainders are rounded up."""
    total = sum(weights)
    parts = [number * weight // total for weight in weights]
    remainders = [number * weight % total for weight in weights]
    largest = sorted(range(len(weights)), key=lambda index: (-remainders[index], index))
    for index in largest[: number - sum(parts)]:
        parts[index] += 1
    return parts
