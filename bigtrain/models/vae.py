"""The variational autoencoder."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.config.values import NonNegativeFloat, PositiveInt
from bigtrain.data.spec import Spec
from bigtrain.models import layers
from bigtrain.models.autoencoder import Autoencoder, Likelihood
from bigtrain.models.linear import Linear
from bigtrain.parallel.rules import Dim


class VAE(Autoencoder):
    """A variational autoencoder of fully connected layers (Kingma & Welling 2014; β: Higgins et al. 2017)."""

    def __init__(
        self,
        spec: Spec,
        *,
        widths: tuple[PositiveInt, ...] = (256,),
        latent: PositiveInt = 16,
        beta: NonNegativeFloat = 1.0,
        likelihood: Likelihood = "bernoulli",
        activation: layers.Activation = "relu",
        rngs: nnx.Rngs,
    ) -> None:
        """Builds encoder and decoder for the data's shapes.

        Args:
            spec: the data; its inputs are flattened.
            widths: units of each encoder layer; the decoder mirrors them.
            latent: dimensions of the code.
            beta: weight of the KL term in the loss.
            likelihood: of the pixels: bernoulli for values within [0, 1], gaussian (with one learned variance) for any.
            activation: the function after each hidden layer.
            rngs: random streams for the initial values and for the code's noise.
        """
        super().__init__(spec, latent=latent, beta=beta, likelihood=likelihood, rngs=rngs)
        size, self.activation = math.prod(self.shape), activation
        self.encoder = _stack((size, *widths), rngs)
        self.code = Linear((size, *widths)[-1], 2 * latent, dims=("features", None), rngs=rngs)
        self.decoder = _stack((latent, *reversed(widths)), rngs)
        self.output = Linear((latent, *reversed(widths))[-1], size, dims=("features", None), rngs=rngs)

    def encode(self, inputs: Float[Array, "B *shape"]) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"]]:
        """Mean and log variance of q(z|x)."""
        values = self._through(self.encoder, inputs.reshape(inputs.shape[0], -1))
        mean, log_variance = jnp.split(self.code(values), 2, axis=-1)
        return mean, log_variance

    def decode(self, codes: Float[Array, "B Z"]) -> Float[Array, "B *shape"]:
        """Logits (bernoulli) or means (gaussian) of p(x|z)."""
        values = self.output(self._through(self.decoder, codes))
        return values.reshape(-1, *self.shape)

    def _through(self, stack: nnx.List[Linear], values: jax.Array) -> jax.Array:
        apply = layers.activation(self.activation)
        for linear in stack:
            values = apply(linear(values))
        return values


def _stack(sizes: tuple[int, ...], rngs: nnx.Rngs) -> nnx.List[Linear]:
    named: tuple[Dim, Dim] = ("features", "hidden")
    return nnx.List([Linear(size, width, dims=named, rngs=rngs) for size, width in itertools.pairwise(sizes)])
