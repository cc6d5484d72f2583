"""What every variational autoencoder has: the code that is drawn, the likelihood, and which data they allow."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec
from bigtrain.models.layers import Hyperparameter
from bigtrain.models.outputs import check_extras

Likelihood = Literal["bernoulli", "gaussian"]


class Autoencoder(nnx.Module):
    """The base of the variational autoencoders (Kingma & Welling 2014; β: Higgins et al. 2017).

    Args:
        spec: the data.
        latent: dimensions of the code.
        beta: weight of the KL term in the loss.
        likelihood: of the inputs: bernoulli for values within [0, 1], gaussian (with one learned variance) for any.
        rngs: the random stream for the code's noise.
    """

    objective = "elbo"

    def __init__(self, spec: Spec, *, latent: int, beta: float, likelihood: Likelihood, rngs: nnx.Rngs) -> None:
        _check_readable(spec, type(self).__name__, likelihood)
        self.shape, self.latent, self.likelihood = tuple(spec.inputs.shape), latent, likelihood
        self.log_variance = nnx.Param(jnp.zeros(())) if likelihood == "gaussian" else None
        self.beta = Hyperparameter.of(beta, "beta")
        self.stream = nnx.RngStream(rngs.noise(), tag="noise")

    def __call__(self, inputs: Float[Array, "B *shape"]) -> dict[str, jax.Array]:
        """Encodes, draws one code, and decodes it.

        Returns:
            outputs [B, *shape]: logits (bernoulli) or means (gaussian); mean, log_variance [B, Z] of the code;
            beta []: the weight of the KL term; output_log_variance [] where the likelihood is gaussian.
        """
        mean, log_variance = self.encode(inputs)
        noise = jax.random.normal(self.stream(), mean.shape, jnp.float32).astype(mean.dtype)
        result = {
            "outputs": self.decode(mean + jnp.exp(0.5 * log_variance) * noise),
            "mean": mean,
            "log_variance": log_variance,
            "beta": self.beta[...],
        }
        if self.log_variance is not None:
            result["output_log_variance"] = self.log_variance[...]
        return result

    def encode(self, inputs: Float[Array, "B *shape"]) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"]]:
        """Mean and log variance of q(z|x)."""
        raise NotImplementedError

    def decode(self, codes: Float[Array, "B Z"]) -> Float[Array, "B *shape"]:
        """Logits (bernoulli) or means (gaussian) of p(x|z)."""
        raise NotImplementedError

    def expected(self, outputs: Float[Array, "B *shape"]) -> Float[Array, "B *shape"]:
        """The mean of p(x|z) from the decoder's outputs."""
        return jax.nn.sigmoid(outputs) if self.likelihood == "bernoulli" else outputs


def _check_readable(spec: Spec, model: str, likelihood: Likelihood) -> None:
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
