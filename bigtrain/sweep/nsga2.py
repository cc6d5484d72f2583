"""The non-dominated sorting genetic algorithm NSGA-II (Deb et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import NonNegativeInt, PositiveInt
from bigtrain.sweep.optuna_study import asked, check_installed, sampler_seed
from bigtrain.sweep.space import Space, check_swept
from bigtrain.sweep.trial import Objective, Proposal, Trial


class NSGA2:
    """Crosses and mutates what no other trial beats in every objective: NSGA-II (Deb et al. 2002)."""

    def __init__(
        self,
        *,
        trials: PositiveInt = 40,
        parallel: PositiveInt = 4,
        population: PositiveInt = 8,
        seed: NonNegativeInt = 0,
        space: Space,
        objectives: tuple[Objective, ...],
    ) -> None:
        """Checks that Optuna is there.

        Args:
            trials: how many runs; a grid with fewer combinations ends sooner.
            parallel: how many are proposed at a time, before any of them has a score.
            population: how many make a generation; the first is drawn at random.
            seed: fixes what is drawn.
            space: what is swept.
            objectives: what is looked for, usually several at once.
        """
        check_swept(space)
        check_installed("nsga2", "sweep", "optuna")
        if population < 2:
            raise ConfigError("sweep.population", f"{population} is not allowed", allowed="an integer at least 2")
        self.trials, self.parallel, self.population, self.seed = trials, parallel, population, seed
        self.space, self.objectives = space, objectives

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; `parallel` at a time."""
        from optuna.samplers import NSGAIISampler

        sampler = NSGAIISampler(population_size=self.population, seed=sampler_seed(self.seed, len(trials)))
        number = min(self.parallel, self.trials - len(trials))
        key = NSGAIISampler._get_generation_key()  # Optuna keeps the generation with the trial, our ledger doesn't
        return asked(
            sampler,
            number,
            self.space,
            self.objectives,
            trials,
            attributes=lambda completed: {key: completed // self.population},
        )
