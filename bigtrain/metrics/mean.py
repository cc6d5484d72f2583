"""The one metric state: a weighted sum and its weight. Means of means are wrong as soon as weights differ."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Mean:
    """A weighted mean in flight; `total / weight` is its value, or the root of that."""

    total: Float[Array, ""]
    weight: Float[Array, ""]
    root: bool = field(default=False, metadata={"static": True})

    @classmethod
    def of(cls, values: Float[Array, "*shape"], weights: Float[Array, "*shape"], *, root: bool = False) -> Mean:
        """The state of `values`, each counted with its weight; a value of weight 0 may be anything finite.

        Args:
            values: what is averaged.
            weights: of the same shape.
            root: whether the root of the mean is reported: of squared errors, in the units of the errors.
        """
        values, weights = values.astype(jnp.float32), weights.astype(jnp.float32)
        return cls(jnp.sum(values * weights), jnp.sum(weights), root)

    def merge(self, other: Mean) -> Mean:
        """Both states as one."""
        return Mean(self.total + other.total, self.weight + other.weight, self.root)
