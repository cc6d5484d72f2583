"""Population-based training (Jaderberg et al. 2017)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import RunConfig
from bigtrain.config.values import Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from bigtrain.sweep.random_search import configurations, draw
from bigtrain.sweep.rungs import CLOSE, order
from bigtrain.sweep.search import left_behind
from bigtrain.sweep.space import Dimension, Space, check_swept
from bigtrain.sweep.trial import Objective, Proposal, Trial


class PopulationBased:
    """Trains a population side by side; the worst copy the best and vary their numbers (Jaderberg et al. 2017)."""

    def __init__(
        self,
        *,
        members: PositiveInt = 8,
        rounds: PositiveInt = 10,
        quantile: Fraction = 0.25,
        perturb: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.2),
        resample: Fraction = 0.25,
        seed: NonNegativeInt = 0,
        space: Space,
        objectives: tuple[Objective, ...],
        numbers: frozenset[str],
    ) -> None:
        """Checks that what is swept can change in the middle of a run.

        Args:
            members: how many are trained at a time.
            rounds: into how many equal parts a run is divided; between two, members are compared.
            quantile: the share of the members that is replaced by copies of as many of the best, at least one of each;
                0 replaces those that failed and no others.
            perturb: the factors one of which a copied number is multiplied by; a value of a list moves to the one
                before (below 1) or after.
            resample: how likely a value is drawn anew instead.
            seed: fixes the first values and all that is varied.
            space: what is swept.
            objectives: the first of them is what members are compared by.
            numbers: the keys that may change in the middle of a run.
        """
        check_swept(space)
        if members < 2:
            raise ConfigError("sweep.members", f"{members} is not allowed", allowed="an integer at least 2")
        if quantile > 0.5:
            allowed = "a number within [0, 0.5]: nobody is among the best and the worst"
            raise ConfigError("sweep.quantile", f"{quantile:g} is not allowed", allowed=allowed)
        for dimension in space:
            if dimension.key not in numbers:
                problem = "can't change in the middle of a run, as population-based training changes what it sweeps"
                hint = "sweep it with another search: bigtrain configs sweep"
                raise ConfigError(dimension.key, problem, allowed=sorted(numbers), hint=hint)
        self.members, self.rounds, self.quantile, self.perturb = members, rounds, quantile, perturb
        self.resample, self.seed, self.space, self.objective = resample, seed, space, objectives[0]

    def check(self, run: RunConfig, steps: int) -> None:
        """See `bigtrain.sweep.search.ChecksRuns`: a copy that trains no step would show what its parent has reached."""
        if self.rounds > steps:
            problem = f"{self.rounds} is more than the {steps} steps of a run, and each round trains some"
            raise ConfigError("sweep.rounds", problem, allowed=f"at most {steps}")
        if run.early_stopping.patience is not None:
            problem = "would end members that are to be compared after the same number of steps"
            hint = "leave it out; the worst members are given up anyway"
            raise ConfigError("early_stopping.patience", problem, hint=hint)

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; a round is a generation.

        Which trial is in which slot follows from the trials, a generation at a time: who was asked to go on is still in
        its slot, and the slots of the others have the next trials, in order.
        """
        if len(trials) < self.members:
            first = list(itertools.islice(configurations(self.space, self.seed), self.members))
            values = [first[slot % len(first)] for slot in range(len(trials), self.members)]
            return [Proposal(value, until=1 / self.rounds) for value in values]
        slots, copies = list(trials[: self.members]), iter(trials[self.members :])
        for generation in range(1, self.rounds):
            reached = generation / self.rounds + CLOSE
            if all(trial.until < reached for trial in trials):
                return self._generation(slots, generation)
            slots = [member if member.until > reached else next(copies) for member in slots]
        return []

    def given_up(self, trials: Sequence[Trial]) -> set[int]:
        """See `bigtrain.sweep.search.GivesUp`; these are the members that were replaced."""
        return left_behind(trials, self.propose(trials))

    def _generation(self, slots: Sequence[Trial], generation: int) -> list[Proposal]:
        """What each slot trains in a generation: its member goes on, or it is a copy of one of the best, varied."""
        ranking = order(slots, generation / self.rounds, self.objective)
        if not ranking:
            return []  # all have failed
        count = max(1, int(self.quantile * self.members)) if self.quantile else 0
        staying = ranking[: self.members - count]
        best = ranking[: max(count, 1)]
        until = (generation + 1) / self.rounds
        proposals = []
        for slot, member in enumerate(slots):
            if slot in staying:
                proposals.append(Proposal(member.values, until=until, trial=member.number))
                continue
            rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(generation, slot)))
            parent = slots[best[int(rng.integers(len(best)))]]
            proposals.append(Proposal(self._explored(parent.values, rng), until=until, parent=parent.number))
        return proposals

    def _explored(self, values: Mapping[str, str], rng: np.random.Generator) -> dict[str, str]:
        """Values near those of a parent; now and then, or where a list has lost it, one that was drawn anew."""
        return {
            dimension.key: draw(dimension, rng)
            if rng.random() < self.resample or (text := dimension.held(values[dimension.key])) is None
            else _moved(dimension, text, self.perturb[int(rng.integers(2))])
            for dimension in self.space
        }


def _moved(dimension: Dimension, text: str, factor: float) -> str:
    """A value times a factor, within its interval; of a list, the neighbour on that side."""
    step = (factor > 1) - (factor < 1)
    if not dimension.continuous:
        place = dimension.choices.index(text) + step
        return dimension.choices[min(max(place, 0), len(dimension.choices) - 1)]
    value = float(text)
    moved = value * factor
    if dimension.integer and round(moved) == value:
        moved = value + step  # a small whole number would never move
    return dimension.clipped(moved)
