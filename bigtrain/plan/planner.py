"""Plans of a run and of its variants, on the same hardware and data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax

from bigtrain.config.check import Checked
from bigtrain.config.schema import MeshConfig
from bigtrain.config.trust import Trust
from bigtrain.data.spec import Dataset
from bigtrain.plan.advise import advise
from bigtrain.plan.estimate import Estimator
from bigtrain.plan.make import Made, make
from bigtrain.plan.report import Plan
from bigtrain.plan.topology import Target

Variant = Callable[[Sequence[str]], Checked]
"""The config of the run with further overrides."""


class Planner:
    """Makes plans; each variant once.

    Args:
        variant: gives the config for a list of changes.
        trusted: which code may be built.
        dataset: the data, the same for all variants.
        target: the hardware.
        source: where vocabulary and length come from, if not from the config.
    """

    def __init__(
        self, variant: Variant, trusted: Trust, dataset: Dataset, target: Target, source: str | None = None
    ) -> None:
        self.variant, self.trusted, self.dataset, self.target, self.source = variant, trusted, dataset, target, source
        self._plans: dict[tuple[str, ...], Plan] = {}

    @functools.cached_property
    def made(self) -> Made:
        """The plan of the run itself with what it was read from; raises `ConfigError` for what `fit` would refuse."""
        return self._make(())

    def plan(self, changes: tuple[str, ...]) -> Plan:
        """The plan of a variant; its program isn't kept.

        Raises:
            ConfigError: for whatever `fit` would refuse.
        """
        if not changes:
            return self.made.plan
        if changes not in self._plans:
            self._plans[changes] = self._make(changes).plan
            jax.clear_caches()
        return self._plans[changes]

    def _make(self, changes: tuple[str, ...]) -> Made:
        found = make(self.variant(changes), self.trusted, self.dataset, self.target)
        if not self.source:
            return found
        data = {**found.plan.data, "source": self.source}
        return dataclasses.replace(found, plan=dataclasses.replace(found.plan, data=data))

    @functools.cached_property
    def estimator(self) -> Estimator:
        """Estimates variants from the plan of the run itself."""
        return Estimator(self.made, self.target)

    def mesh_of(self, changes: Sequence[str]) -> MeshConfig:
        """The mesh of a variant."""
        return self.variant(changes).run.mesh

    def advised(self) -> Plan:
        """The plan of the run itself, with advice if it doesn't fit."""
        found = self.made
        if found.plan.memory.fits:
            return found.plan
        return dataclasses.replace(found.plan, advice=advise(found, self.estimator, self.mesh_of, self.plan))
