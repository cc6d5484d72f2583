"""Memory and time of a variant, estimated from a plan that was compiled: which are worth compiling themselves.

The state is exact; what a step makes is taken to grow with what its backward pass keeps, as in the compiled plan. Time
is the roofline with communication by formula. Both only choose and order what is compiled.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.rules import Rules
from bigtrain.plan.activations import SPLITTING, residuals
from bigtrain.plan.make import Made, capacity_of, granules
from bigtrain.plan.speeds import speeds
from bigtrain.plan.topology import Target
from bigtrain.plan.variation import Variation
from bigtrain.train.program import Definition
from bigtrain.train.sharding import bytes_on_a_device, sharded
from bigtrain.train.state import TrainState

AGAIN = {"none": 1.0, "dots": 1.04, "full": 4 / 3}
"""Operations of a step by what is computed again: a forward pass is a third of them."""


@dataclass(frozen=True)
class Estimate:
    """What a variant is expected to need."""

    peak: int  # bytes on a device
    capacity: int
    seconds: float  # of a step

    @property
    def fits(self) -> bool:
        """Whether it is expected to fit."""
        return self.peak <= self.capacity


class Estimator:
    """Estimates variants of one compiled plan."""

    def __init__(self, base: Made, target: Target) -> None:
        self.base, self.target = base, target
        self.variation = variation_of(base)
        self._kept: dict[tuple[str | None, str], float] = {}
        self._rules: dict[str, tuple[Rules, TrainState]] = {}
        made, grads = base.uses["advance"].made, base.resting.parameters
        expected = self._kept_bytes(self.variation, base.outline.rules) + grads
        self.scale = made / max(1, expected)

    def of(self, variation: Variation) -> Estimate:
        """The estimate of a variant.

        Raises:
            ConfigError: where the variant can't be: a batch or a dimension that doesn't divide.
        """
        rules, state = self._placed(variation.mesh)
        ways = rules.ways("batch") * variation.accumulate
        if variation.batch % ways:
            raise ConfigError("batch_size", f"{variation.batch} does not divide by {ways}")
        parameters = bytes_on_a_device(state.params)
        made = self.scale * (self._kept_bytes(variation, rules) + parameters)
        if variation.accumulate > 1 and self.variation.accumulate == 1:
            made += parameters  # the sums of gradients
        rest = self.base.resting
        growth = variation.batch / self.variation.batch * self._ways(self.base.outline.rules) / self._ways(rules)
        data = rest.feeds * rest.feed * growth + rest.kept
        peak = bytes_on_a_device(state) + made + data + self._process()
        capacity, _ = capacity_of(self.target, rules.mesh.size)
        return Estimate(int(peak), capacity, self._seconds(variation, rules, state))

    def _process(self) -> int:
        return self.base.plan.memory.categories.get("process", 0)

    def _placed(self, cfg: MeshConfig) -> tuple[Rules, TrainState]:
        key = repr(cfg)
        if key not in self._rules:
            rules = Rules.of(meshes.make(cfg, self.target.devices), cfg)
            self._rules[key] = rules, sharded(self.base.lowered.state, self.base.lowered.recipe, rules)
        return self._rules[key]

    def _ways(self, rules: Rules) -> int:
        axes = {axis for dim in SPLITTING for axis in rules.axes(dim)}
        return math.prod(rules.mesh.shape[axis] for axis in axes)

    def _kept_bytes(self, variation: Variation, rules: Rules) -> float:
        """Bytes that the backward pass keeps on a device; traced once for each way to compute."""
        key = (variation.remat, variation.precision)
        base = self.base
        if key not in self._kept:
            made = _varied(base.lowered.definition, *key)
            own = base.outline.rules
            found = residuals(made, base.lowered.state, base.lowered.shapes[1], base.lowered.shapes[3], own)
            self._kept[key] = found * self._ways(own) * self.variation.accumulate / self.variation.batch
        return self._kept[key] * variation.batch / variation.accumulate / self._ways(rules)

    def _seconds(self, variation: Variation, rules: Rules, state: TrainState) -> float:
        base, mesh = self.base.plan, rules.mesh
        can = speeds(self.target, variation.precision, mesh.size)
        more = variation.batch / self.variation.batch
        again = AGAIN[variation.remat or "none"]
        if variation.remat == self.variation.remat:
            again = base.flops_done / base.flops
        width = 0.5 if variation.precision == "bf16" else 1.0
        compute = base.flops * more * again / can.flops
        memory = base.roofline.memory * (0.5 + 0.5 * more * again) * width / self._relative_width()
        memory *= self.base.lowered.rules.mesh.size / mesh.size if more == 1 else 1.0
        return max(compute, memory, self._network(variation, rules, state, can))

    def _relative_width(self) -> float:
        return 0.5 if self.variation.precision == "bf16" else 1.0

    def _network(self, variation: Variation, rules: Rules, state: TrainState, can: Any) -> float:
        """Gathering and scattering parameters, summing gradients, and what tensor axes send of activations."""
        shape = dict(rules.mesh.shape)
        place = granules(self.target.hardware, list(rules.mesh.devices.flat))
        weights = sum(leaf.size for leaf in state.params.values()) * 4 / shape.get("tensor", 1)
        fsdp, data, tensor = (shape.get(axis, 1) for axis in ("fsdp", "data", "tensor"))
        beside = 1
        for axis in reversed(list(shape)):  # the innermost axis is next to each other
            beside *= shape[axis] if axis == "tensor" else 1
        crosses = len(set(place)) > 1
        slow = min(can.link, can.network * beside) if crosses else can.link
        total = 0.0
        if fsdp > 1:
            total += 3 * weights * variation.accumulate * (fsdp - 1) / fsdp / slow
        if data > 1:
            total += 2 * weights / fsdp * (data - 1) / data / slow
        if tensor > 1:
            # of what is kept without computing again, about a sixth is summed over the axis, twice
            whole = variation if variation.remat is None else dataclasses.replace(variation, remat="none")
            total += (
                self._kept_bytes(whole, rules) * tensor / 3 * variation.accumulate * (tensor - 1) / tensor / can.link
            )
        return total


def variation_of(made: Made) -> Variation:
    """The run itself as a variation, without changes."""
    run = made.checked.run
    return Variation(run.mesh, run.batch_size, made.plan.accumulate, made.plan.remat, run.precision)


def _varied(definition: Definition, remat: str | None, precision: str) -> Definition:
    """What would be computed with another choice of `remat` and of precision."""
    changed = dataclasses.replace(definition, precision=precision)
    if remat is None:
        return changed
    node = dataclasses.replace(definition.model, arguments={**definition.model.arguments, "remat": remat})
    return dataclasses.replace(changed, model=node)
