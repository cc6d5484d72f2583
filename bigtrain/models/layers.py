"""Layers and choices that the families share.

Legend of dim letters, here and in the families: B batch, T time (steps of a sequence), D features, H hidden,
V vocabulary or classes, Z latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.models.batch_norm import BatchNorm

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid", "elu"]
Norm = Literal["none", "layer", "batch", "rms"]

STACKED = "stacked"
"""The name, in a parameter's dotted path, of layers whose arrays are one: the first dim counts the layers."""


class Hyperparameter(nnx.Variable[jax.Array]):
    """A number of the model's config that enters the compiled program as an argument.

    `field` names the constructor's argument: the program replaces the value by the one in the config, so another
    dropout rate or β runs the same executable.
    """

    @classmethod
    def of(cls, value: float, field: str) -> Hyperparameter:
        """A scalar f32 variable bound to the constructor's argument `field`."""
        return cls(jnp.asarray(value, jnp.float32), field=field)


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The elementwise function of that name in `jax.nn`."""
    return {"tanh": jnp.tanh}.get(name) or getattr(jax.nn, name)


class Dropout(nnx.Module):
    """Dropout whose rate is an argument of the program (Srivastava et al. 2014, inverted scaling).

    A rate of exactly 0 draws no random numbers; whether it is 0 is decided when the model is built.
    """

    def __init__(self, rate: float, *, field: str = "dropout", rngs: nnx.Rngs) -> None:
        self.active = rate != 0
        self.deterministic = False
        self.rate = Hyperparameter.of(rate, field)
        self.stream = nnx.RngStream(rngs.dropout(), tag="dropout")

    def __call__(self, values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Zeroes a random share of the values in training; the identity in evaluation."""
        if self.deterministic or not self.active:
            return values
        keep = 1.0 - self.rate[...]
        kept = jax.random.bernoulli(self.stream(), keep, values.shape)
        return jnp.where(kept, values / keep.astype(values.dtype), jnp.zeros_like(values))


def norm(name: str, features: int, *, rngs: nnx.Rngs) -> Callable[[jax.Array], jax.Array]:
    """A normalisation layer over the last dimension, or the identity for 'none'."""
    layers = {"layer": nnx.LayerNorm, "batch": BatchNorm, "rms": nnx.RMSNorm}
    return layers[name](features, rngs=rngs) if name != "none" else _identity


def _identity(values: jax.Array) -> jax.Array:
    return values
