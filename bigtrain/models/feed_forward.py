"""The feed-forward half of a Transformer block."""

from __future__ import annotations

from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.models import layers
from bigtrain.models.linear import Linear
from bigtrain.parallel.rules import Dim

Activation = Literal["relu", "gelu", "silu", "tanh", "swiglu", "geglu"]
GATED = {"swiglu": "silu", "geglu": "gelu"}


def hidden_size(width: int, activation: str) -> int:
    """4 × width; where a gate adds a third matrix, 8/3 × width rounded up to a multiple of 32: as many parameters."""
    return -(-8 * width // 96) * 32 if activation in GATED else 4 * width


class FeedForward(nnx.Module):
    """Two linear layers with an activation between them, or a gated one (Shazeer 2020: SwiGLU, GEGLU)."""

    def __init__(
        self, width: int, hidden: int, *, activation: Activation, bias: bool, last_deviation: float, rngs: nnx.Rngs
    ) -> None:
        self.activation = activation
        inward: tuple[Dim, Dim] = ("width", "hidden")
        self.gate = linear(width, hidden, bias=bias, dims=inward, rngs=rngs) if activation in GATED else None
        self.up = linear(width, hidden, bias=bias, dims=inward, rngs=rngs)
        outward: tuple[Dim, Dim] = ("hidden", "width")
        self.down = linear(hidden, width, bias=bias, deviation=last_deviation, dims=outward, rngs=rngs)

    def __call__(self, values: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Each token by itself."""
        apply = layers.activation(GATED.get(self.activation, self.activation))
        up = self.up(values)
        hidden = apply(up) if self.gate is None else apply(self.gate(values)) * up
        result: jax.Array = self.down(hidden)
        return result


def linear(
    features: int,
    outputs: int,
    *,
    bias: bool,
    deviation: float = 0.02,
    dims: tuple[Dim, Dim] = (None, None),
    rngs: nnx.Rngs,
) -> Linear:
    """A linear layer that starts as in GPT-2 (Radford et al. 2019): normal with deviation 0.02, biases zero."""
    initial = nnx.initializers.normal(deviation)
    return Linear(features, outputs, use_bias=bias, kernel_init=initial, dims=dims, rngs=rngs)
