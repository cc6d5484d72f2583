"""Random search (Bergstra & Bengio 2012)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from bigtrain.config.values import NonNegativeInt, PositiveInt
from bigtrain.sweep.space import Dimension, Space, check_swept, identity, size
from bigtrain.sweep.trial import Proposal, Trial


class Random:
    """Independent draws from the swept lists and intervals (Bergstra & Bengio 2012)."""

    def __init__(self, *, trials: PositiveInt = 20, seed: NonNegativeInt = 0, space: Space) -> None:
        """Prepares the draws.

        Args:
            trials: how many runs; more of them keep the earlier ones. Where only lists are swept, it ends with the last
                combination.
            seed: fixes what is drawn.
            space: what is swept.
        """
        check_swept(space)
        self.trials, self.seed, self.space = trials, seed, space

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; all in one round."""
        known = {identity(trial.values) for trial in trials}  # of other values, too, where the lists were other ones
        drawn = (values for values in configurations(self.space, self.seed) if identity(values) not in known)
        return [Proposal(values) for values in itertools.islice(drawn, max(0, self.trials - len(trials)))]


def configurations(space: Space, seed: int) -> Iterator[dict[str, str]]:
    """Random configurations, none twice: the first ones are the same however many are taken."""
    whole = size(space)
    seen = set()
    for index in itertools.count():
        if len(seen) == whole:
            return
        values = configuration(space, seed, index)
        if identity(values) not in seen:
            seen.add(identity(values))
            yield values


def configuration(space: Space, seed: int, *index: int) -> dict[str, str]:
    """The draw number `index` of a seed: it doesn't depend on any other."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=index))
    return {dimension.key: draw(dimension, rng) for dimension in space}


def draw(dimension: Dimension, rng: np.random.Generator) -> str:
    """One value of a dimension; every choice, and every number (or its logarithm), is as likely as another."""
    if not dimension.continuous:
        return dimension.choices[int(rng.integers(len(dimension.choices)))]
    half = 0.5 if dimension.integer and dimension.log else 0.0  # each whole number has an interval around it
    low, high = dimension.low - half, dimension.high + half
    if dimension.log:
        return dimension.clipped(math.exp(rng.uniform(math.log(low), math.log(high))))
    if dimension.integer:
        return dimension.text(int(rng.integers(round(low), round(high), endpoint=True)))
    return dimension.clipped(rng.uniform(low, high))
