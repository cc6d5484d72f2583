"""Factorisation of ratings: a number for each user and item, and how well they go together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import PositiveInt
from bigtrain.data.spec import Spec
from bigtrain.models.embedding import Categories
from bigtrain.models.outputs import check_extras, output_size

DEVIATION = 0.1  # of the factors at the start; they have to differ, or all would learn the same


class Factorization(nnx.Module):
    """Matrix factorisation with biases: μ + b_u + b_i + p_u·q_i (Koren et al. 2009, equation 4).

    With more than two columns of categories, the products of all pairs are summed (a factorisation machine, Rendle
    2010). The mean rating μ is where the data's targets start from. What keeps factors small is the optimizer's weight
    decay: `optimizer=adamw optimizer.weight_decay=0.1`.
    """

    def __init__(self, spec: Spec, *, rank: PositiveInt = 16, biases: bool = True, rngs: nnx.Rngs) -> None:
        """Builds the tables for the data's columns.

        Args:
            spec: the data; its inputs are columns of categories, its target one number.
            rank: factors of each user and each item.
            biases: whether each of them has a bias, and the whole a constant.
            rngs: random streams for the initial values.
        """
        check_extras(spec, "Factorization", takes=("categories",))
        inputs, targets = spec.inputs, spec.targets
        if inputs.kind != "categories" or "categories" in spec.fields or len(inputs.sizes) < 2:
            problem = f"Factorization reads two or more columns of categories, and data {spec.name!r} has others"
            raise ConfigError("model", problem, hint="use model=mlp, or data=ratings")
        if output_size(spec, "Factorization") != 1 or (targets is not None and targets.kind != "real"):
            problem = f"Factorization gives one number, and data {spec.name!r} has other targets"
            raise ConfigError("model", problem, hint="use model=mlp, or data.target_kind=real")
        columns = len(inputs.sizes)
        self.factors = Categories(inputs.sizes, [rank] * columns, deviation=DEVIATION, rngs=rngs)
        self.biases = Categories(inputs.sizes, [1] * columns, deviation=0.0, rngs=rngs) if biases else None
        self.constant = nnx.Param(jnp.zeros(1)) if biases else None

    def __call__(self, inputs: Int[Array, "B K"]) -> Float[Array, "B 1"]:
        """The predicted value of each row."""
        factors = jnp.stack(self.factors(inputs))  # [K, B, R]
        # the sum over pairs j < k of p_j·p_k, without visiting each pair
        pairs = (jnp.square(factors.sum(axis=0)) - jnp.square(factors).sum(axis=0)).sum(axis=1, keepdims=True) / 2
        if self.biases is None or self.constant is None:
            return pairs
        result: jax.Array = self.constant[...] + sum(self.biases(inputs), pairs)
        return result
