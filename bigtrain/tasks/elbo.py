"""The evidence lower bound of a variational autoencoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from bigtrain.data.spec import Spec
from bigtrain.metrics import Mean
from bigtrain.tasks.task import Batch, Elements, call, weights_like


@dataclass(frozen=True)
class ELBO:
    """The evidence lower bound of a VAE, in nats an example, estimated with one code (Kingma & Welling 2014, eq. 10).

    The loss is reconstruction + β·KL; `elbo` is always reported with β = 1: −(reconstruction + kl).
    """

    objective: ClassVar[str] = "elbo"
    metrics: ClassVar[tuple[str, ...]] = ("elbo", "reconstruction", "kl")

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B]; `reconstruction` is −log p(x|z), `kl` is KL(q(z|x) ‖ N(0, I)) in closed form."""
        result = {name: value.astype(jnp.float32) for name, value in call(model, batch).items()}
        reconstruction = _negative_log_likelihood(result, batch["inputs"].astype(jnp.float32))
        mean, log_variance = result["mean"], result["log_variance"]
        kl = 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance, axis=-1)
        losses = reconstruction + result["beta"] * kl
        weights = weights_like(batch, losses)
        values = {"elbo": -(reconstruction + kl), "reconstruction": reconstruction, "kl": kl}
        return losses, weights, {name: Mean.of(value, weights) for name, value in values.items()}

    def predict(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """`reconstruction` [B, *shape] from the code's mean, and the `code` [B, Z] itself."""
        mean, _ = model.encode(batch["inputs"])
        return {"reconstruction": model.expected(model.decode(mean)).astype(jnp.float32), "code": mean}

    def sample(self, model: Any, spec: Spec, key: jax.Array, number: int) -> jax.Array:
        """`number` new examples [N, *shape]: the means of p(x|z) for codes drawn from the prior."""
        codes = jax.random.normal(key, (number, model.latent))
        return model.expected(model.decode(codes)).astype(jnp.float32)


def _negative_log_likelihood(result: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """−log p(x|z) of each example [B], in nats."""
    if "output_log_variance" not in result:
        per_value = optax.sigmoid_binary_cross_entropy(result["outputs"], inputs)
    else:
        log_variance = result["output_log_variance"]
        squared = jnp.square(result["outputs"] - inputs) * jnp.exp(-log_variance)
        per_value = 0.5 * (math.log(2 * math.pi) + log_variance + squared)
    return jnp.sum(per_value.reshape(inputs.shape[0], -1), axis=-1)
