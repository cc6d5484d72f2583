"""The variational autoencoder with a convolutional encoder and decoder."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import NonNegativeFloat, PositiveInt
from bigtrain.data.spec import Spec
from bigtrain.models import layers
from bigtrain.models.autoencoder import Autoencoder, Likelihood
from bigtrain.models.convolution import Convolution
from bigtrain.models.linear import Linear
from bigtrain.parallel.rules import Dim


class ConvVAE(Autoencoder):
    """A variational autoencoder of convolutions, for images and curves (Kingma & Welling 2014)."""

    def __init__(
        self,
        spec: Spec,
        *,
        channels: tuple[PositiveInt, ...] = (32, 64),
        kernel: PositiveInt = 3,
        width: PositiveInt = 256,
        latent: PositiveInt = 16,
        beta: NonNegativeFloat = 1.0,
        likelihood: Likelihood = "bernoulli",
        activation: layers.Activation = "relu",
        rngs: nnx.Rngs,
    ) -> None:
        """Builds encoder and decoder for the data's shapes.

        Args:
            spec: the data: images [H, W] or [H, W, C], or vectors [D].
            channels: of each encoder convolution, which halves the map; the decoder mirrors them.
            kernel: size of the convolutions' windows.
            width: units of the layer between the last map and the code, on both sides.
            latent: dimensions of the code.
            beta: weight of the KL term in the loss.
            likelihood: of the pixels: bernoulli for values within [0, 1], gaussian (with one learned variance) for any.
            activation: the function after each hidden layer.
            rngs: random streams for the initial values and for the code's noise.
        """
        super().__init__(spec, latent=latent, beta=beta, likelihood=likelihood, rngs=rngs)
        if not channels:
            raise ConfigError("model.channels", "is empty", hint="model=vae has no convolutions")
        if not 1 <= len(self.shape) <= 3:
            problem = f"ConvVAE reads images and vectors, and data {spec.name!r} has inputs of shape {list(self.shape)}"
            raise ConfigError("model", problem, hint="model=vae flattens any shape")
        self.activation = activation
        dims = min(len(self.shape), 2)
        self.sizes = _halved(self.shape[:dims], len(channels))  # of each map, the input's first
        widths, form = (math.prod(self.shape[dims:]), *channels), {"window": (kernel,) * dims, "rngs": rngs}
        self.encoder = nnx.List([Convolution(*pair, stride=2, **form) for pair in itertools.pairwise(widths)])
        self.last = (*self.sizes[-1], widths[-1])  # the map next to the code
        names: tuple[Dim, Dim] = ("features", "hidden")
        self.read = Linear(math.prod(self.last), width, dims=names, rngs=rngs)
        self.code = Linear(width, 2 * latent, rngs=rngs)
        self.write = nnx.List(
            [Linear(latent, width, dims=names, rngs=rngs), Linear(width, math.prod(self.last), rngs=rngs)]
        )
        self.decoder = nnx.List([Convolution(*pair, **form) for pair in itertools.pairwise(reversed(widths))])

    def encode(self, inputs: Float[Array, "B *shape"]) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"]]:
        """Mean and log variance of q(z|x)."""
        apply = layers.activation(self.activation)
        values = inputs.reshape(-1, *self.sizes[0], self.encoder[0].kernel.shape[-2])
        for convolution in self.encoder:
            values = apply(convolution(values))
        mean, log_variance = jnp.split(self.code(apply(self.read(values.reshape(len(values), -1)))), 2, axis=-1)
        return mean, log_variance

    def decode(self, codes: Float[Array, "B Z"]) -> Float[Array, "B *shape"]:
        """Logits (bernoulli) or means (gaussian) of p(x|z)."""
        apply = layers.activation(self.activation)
        first, second = self.write
        values = second(apply(first(codes))).reshape(-1, *self.last)
        for convolution, sizes in zip(self.decoder, reversed(self.sizes[:-1]), strict=True):
            values = convolution(_doubled(apply(values), sizes))
        return values.reshape(-1, *self.shape)


def _halved(sizes: tuple[int, ...], times: int) -> list[tuple[int, ...]]:
    """The sides of the map after each of `times` halvings, rounded up."""
    found = [sizes]
    for _ in range(times):
        found.append(tuple(-(-size // 2) for size in found[-1]))
    return found


def _doubled(values: Float[Array, "B *space C"], sizes: tuple[int, ...]) -> Float[Array, "B *sizes C"]:
    """Each value twice in each spatial dimension, cut to `sizes`: followed by a convolution, it leaves no checks."""
    for axis, size in enumerate(sizes, start=1):
        values = jax.lax.slice_in_dim(jnp.repeat(values, 2, axis=axis), 0, size, axis=axis)
    return values
