"""Plans made in this process, on its simulated devices."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from bigtrain.cli.fit import understood
from bigtrain.data.load import load_data
from bigtrain.plan.hardware import CHIPS, Hardware
from bigtrain.plan.make import Made
from bigtrain.plan.planner import Planner
from bigtrain.plan.topology import Target


def planner(*overrides: str, devices: int = 1, capacity: int | None = None) -> Planner:
    """A planner for the CPU; `capacity` is what each of its devices is said to hold, in bytes."""
    given = [*overrides, "compilation_cache=false"]
    _, checked, trusted = understood(given, None, [])
    limit = None if capacity is None else (capacity, "made up")
    target = Target(Hardware(CHIPS["cpu"], devices), jax.devices()[:devices], capacity=limit)

    def variant(changes: Sequence[str]):
        return understood([*given, *changes], None, [])[1]

    return Planner(variant, trusted, load_data(checked, trusted), target)


def made(*overrides: str, devices: int = 1, capacity: int | None = None) -> Made:
    """The plan of a run, and what it was read from."""
    return planner(*overrides, devices=devices, capacity=capacity).made
