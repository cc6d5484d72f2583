"""Plans of a run and of its variants, on the same hardware and data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from bigtrain.config.check import Checked
from bigtrain.config.trust import Trust
from bigtrain.data.spec import Dataset
from bigtrain.plan.make import plan
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

    @functools.cache  # noqa: B019  lives as long as the process
    def of(self, *changes: str) -> Plan:
        """The plan of a variant; raises `ConfigError` for whatever `fit` would refuse."""
        made = plan(self.variant(changes), self.trusted, self.dataset, self.target)
        return dataclasses.replace(made, data={**made.data, "source": self.source}) if self.source else made

    def advised(self) -> Plan:
        """The plan of the run itself, with advice if it doesn't fit."""
        return self.of()
