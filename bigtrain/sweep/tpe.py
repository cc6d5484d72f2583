"""The tree-structured Parzen estimator (Bergstra et al. 2011)."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.config.values import NonNegativeInt, PositiveInt
from bigtrain.sweep.optuna_study import asked, check_installed, sampler_seed
from bigtrain.sweep.space import Space, check_swept
from bigtrain.sweep.trial import Objective, Proposal, Trial


class TPE:
    """Draws where good trials are denser than bad: the tree-structured Parzen estimator (Bergstra et al. 2011)."""

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
        """Checks that Optuna is there.

        Args:
            trials: how many runs; a grid with fewer combinations ends sooner.
            parallel: how many are proposed at a time, before any of them has a score.
            startup: so many trials are drawn at random first.
            seed: fixes what is drawn.
            space: what is swept.
            objectives: what is looked for; several of them are looked for at once (Ozaki et al. 2022).
        """
        check_swept(space)
        check_installed("tpe", "sweep", "optuna")
        self.trials, self.parallel, self.startup, self.seed = trials, parallel, startup, seed
        self.space, self.objectives = space, objectives

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; `parallel` at a time."""
        from optuna.samplers import TPESampler

        sampler = TPESampler(n_startup_trials=self.startup, seed=sampler_seed(self.seed, len(trials)))
        number = min(self.parallel, self.trials - len(trials))
        return asked(sampler, number, self.space, self.objectives, trials)
