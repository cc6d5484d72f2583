"""The metric states of every step of a dispatch, on a GPU side by side, so that a step writes them at once.

There each array that is written is a kernel by itself in every step: 6 of the 31 of a small MLP. On a CPU they are as
fast, or faster, one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bigtrain.parallel.naming import target
from bigtrain.train.step import Metrics

Log = list[jax.Array]  # [steps, values, …] each


@dataclass(frozen=True)
class Rows:
    """The layout of a log.

    Args:
        shapes: the metric states of a step, as shapes.
        capacity: steps.
    """

    shapes: Metrics
    capacity: int

    def empty(self) -> Log:
        """The log before the first step."""
        shapes = [jax.tree.leaves(self.shapes)[places[0]] for places in self._places()]
        sizes = [(self.capacity, len(places)) for places in self._places()]
        return [jnp.zeros((*size, *leaf.shape), leaf.dtype) for size, leaf in zip(sizes, shapes, strict=True)]

    def written(self, log: Log, at: jax.Array, metrics: Metrics) -> Log:
        """The log with the metric states of step `at`, which it has room for."""
        leaves = jax.tree.leaves(metrics)
        rows = [jnp.stack([leaves[place] for place in places]) for places in self._places()]
        return [_put(entries, row, at) for entries, row in zip(log, rows, strict=True)]

    def metrics(self, log: Log) -> Metrics:
        """The metric states as arrays [capacity, …] each."""
        leaves: dict[int, Any] = {}
        for entries, places in zip(log, self._places(), strict=True):
            leaves |= {place: entries[:, index] for index, place in enumerate(places)}
        found: Metrics = jax.tree.unflatten(jax.tree.structure(self.shapes), [leaves[at] for at in sorted(leaves)])
        return found

    def _places(self) -> list[list[int]]:
        """Which leaves lie side by side: on a GPU those of the same type and shape."""
        joined, found = target().platform == "gpu", dict[Any, list[int]]()
        for place, leaf in enumerate(jax.tree.leaves(self.shapes)):
            found.setdefault((leaf.dtype, leaf.shape) if joined else place, []).append(place)
        return list(found.values())


def _put(entries: jax.Array, row: jax.Array, at: jax.Array) -> jax.Array:
    """By the primitive itself: a loop in which a function writes is not known to look at nothing else (`loops`)."""
    where = (at, *(0,) * row.ndim)
    return jax.lax.dynamic_update_slice(entries, row[None], where, allow_negative_indices=False)
