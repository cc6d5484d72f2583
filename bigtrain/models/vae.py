"""The variational autoencoder."""

from __future__ import annotations

import itertools
import math
from typing import Literal, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import NonNegativeFloat, PositiveInt
from bigtrain.data.spec import Spec
from bigtrain.models import layers
from bigtrain.models.outputs import check_extras

Likelihood = Literal["bernoulli", "gaussian"]


class Coder(Protocol):
    """What the answer of an autoencoder is made of."""

    beta: layers.Hyperparameter
    stream: nnx.RngStream
    log_variance: nnx.Param[jax.Array] | None

    def encode(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance of q(z|x)."""
        ...

    def decode(self, codes: jax.Array) -> jax.Array:
        """Logits (bernoulli) or means (gaussian) of p(x|z)."""
        ...


def answer(model: Coder, inputs: Float[Array, "B *shape"]) -> dict[str, jax.Array]:
    """What an autoencoder gives the task: one code drawn and decoded, and the parameters of its distributions."""
    mean, log_variance = model.encode(inputs)
    noise = jax.random.normal(model.stream(), mean.shape, jnp.float32).astype(mean.dtype)
    result = {
        "outputs": model.decode(mean + jnp.exp(0.5 * log_variance) * noise),
        "mean": mean,
        "log_variance": log_variance,
        "beta": model.beta[...],
    }
    if model.log_variance is not None:
        result["output_log_variance"] = model.log_variance[...]
    return result


def check_readable(spec: Spec, model: str, likelihood: Likelihood) -> None:
    """Refuses data that isn't real values, or lies where the likelihood gives no density."""
    if spec.inputs.kind != "features":
        raise ConfigError("model", f"{model} reads real values, and data {spec.name!r} has {spec.inputs.kind}")
    check_extras(spec, model)
    low, high = spec.inputs.low, spec.inputs.high
    if likelihood == "bernoulli" and low is not None and high is not None and (low < 0 or high > 1):
        problem = (
            f"bernoulli needs inputs within [0, 1], and those of data {spec.name!r} lie within [{low:g}, {high:g}]"
        )
        raise ConfigError("model.likelihood", problem, hint="set model.likelihood=gaussian")


class VAE(nnx.Module):
    """A variational autoencoder of fully connected layers (Kingma & Welling 2014; β: Higgins et al. 2017)."""

    objective = "elbo"

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
        check_readable(spec, "VAE", likelihood)
        self.shape = tuple(spec.inputs.shape)
        size = math.prod(self.shape)
        self.activation, self.latent, self.likelihood = activation, latent, likelihood
        self.encoder = _stack((size, *widths), rngs)
        self.code = nnx.Linear((size, *widths)[-1], 2 * latent, rngs=rngs)
        self.decoder = _stack((latent, *reversed(widths)), rngs)
        self.output = nnx.Linear((latent, *reversed(widths))[-1], size, rngs=rngs)
        self.log_variance = nnx.Param(jnp.zeros(())) if likelihood == "gaussian" else None
        self.beta = layers.Hyperparameter.of(beta, "beta")
        self.stream = nnx.RngStream(rngs.noise(), tag="noise")

    def __call__(self, inputs: Float[Array, "B *shape"]) -> dict[str, jax.Array]:
        """Encodes, draws one code, and decodes it.

        Returns:
            outputs [B, *shape]: logits (bernoulli) or means (gaussian); mean, log_variance [B, Z] of the code;
            beta []: the weight of the KL term; output_log_variance [] where the likelihood is gaussian.
        """
        return answer(self, inputs)

    def encode(self, inputs: Float[Array, "B *shape"]) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"]]:
        """Mean and log variance of q(z|x)."""
        values = self._through(self.encoder, inputs.reshape(inputs.shape[0], -1))
        mean, log_variance = jnp.split(self.code(values), 2, axis=-1)
        return mean, log_variance

    def decode(self, codes: Float[Array, "B Z"]) -> Float[Array, "B *shape"]:
        """Logits (bernoulli) or means (gaussian) of p(x|z)."""
        values = self.output(self._through(self.decoder, codes))
        return values.reshape(-1, *self.shape)

    def expected(self, outputs: Float[Array, "B *shape"]) -> Float[Array, "B *shape"]:
        """The mean of p(x|z) from the decoder's outputs."""
        return jax.nn.sigmoid(outputs) if self.likelihood == "bernoulli" else outputs

    def _through(self, stack: nnx.List[nnx.Linear], values: jax.Array) -> jax.Array:
        apply = layers.activation(self.activation)
        for linear in stack:
            values = apply(linear(values))
        return values


def _stack(sizes: tuple[int, ...], rngs: nnx.Rngs) -> nnx.List[nnx.Linear]:
    return nnx.List([nnx.Linear(size, width, rngs=rngs) for size, width in itertools.pairwise(sizes)])
