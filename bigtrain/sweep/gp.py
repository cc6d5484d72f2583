"""Bayesian optimization with a Gaussian process (Snoek et al. 2012)."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.config.values import NonNegativeInt, PositiveInt
from bigtrain.sweep.optuna_study import asked, check_installed, sampler_seed
from bigtrain.sweep.space import Space, check_swept
from bigtrain.sweep.trial import Objective, Proposal, Trial


class GP:
    """Tries what a Gaussian process of the scores expects most of: Bayesian optimization (Snoek et al. 2012)."""

    def __init__(
        self,
        *,
        trials: PositiveInt = 20,
        parallel: PositiveInt = 4,
        startup: PositiveInt = 10,
        seed: NonNegativeInt = 0,
        space: Space,
        objectives: tuple[Objective, ...],
    ) -> None:
        """Checks that Optuna and what its Gaussian process needs are there.

        Args:
            trials: how many runs; a grid with fewer combinations ends sooner.
            parallel: how many are proposed at a time, before any of them has a score.
            startup: so many trials are drawn at random first.
            seed: fixes what is drawn.
            space: what is swept.
            objectives: what is looked for; of several, the volume of what they dominate grows.
        """
        check_swept(space)
        check_installed("gp", "sweep-gp", "optuna", "torch", "scipy")
        self.trials, self.parallel, self.startup, self.seed = trials, parallel, startup, seed
        self.space, self.objectives = space, objectives

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; `parallel` at a time."""
        from optuna.samplers import GPSampler

        sampler = GPSampler(n_startup_trials=self.startup, seed=sampler_seed(self.seed, len(trials)))
        number = min(self.parallel, self.trials - len(trials))
        return asked(sampler, number, self.space, self.objectives, trials)
