"""The evidence lower bound of a variational autoencoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bigtrain.config.values import NonNegativeInt
from bigtrain.data.spec import Spec
from bigtrain.metrics import Mean
from bigtrain.tasks.task import Batch, Elements, call, weights_like


@dataclass(frozen=True)
class ELBO:
    """The evidence lower bound of a VAE, in nats an example, estimated with one code (Kingma & Welling 2014, eq. 10).

    The loss is reconstruction + β·KL; `elbo` is always reported with β = 1: −(reconstruction + kl).

    Args:
        importance_samples: codes an example for the tighter, importance-weighted bound `iwae` (Burda et al. 2015, eq.
            8), in evaluation alone; 0 leaves it out. It takes as many passes through the decoder.
    """

    importance_samples: NonNegativeInt = 0
    objective: ClassVar[str] = "elbo"

    @property
    def metrics(self) -> tuple[str, ...]:
        """See `Task`; `iwae` in evaluation."""
        return ("elbo", "reconstruction", "kl", *(["iwae"] if self.importance_samples else []))

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B]; `reconstruction` is −log p(x|z), `kl` is KL(q(z|x) ‖ N(0, I)) in closed form."""
        return self._judged(call(model, batch), batch)

    def judge(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """As `elements`, with `iwae`: log 1/K Σ p(x, z)/q(z|x) over K codes of q(z|x), in nats."""
        result = call(model, batch)
        losses, weights, metrics = self._judged(result, batch)
        if self.importance_samples:
            bound = _importance_weighted(model, result, batch, rngs, self.importance_samples)
            metrics["iwae"] = Mean.of(bound, weights)
        return losses, weights, metrics

    def _judged(self, result: dict[str, jax.Array], batch: Batch) -> Elements:
        """Losses, weights and metrics from a model's answer."""
        result = {name: value.astype(jnp.float32) for name, value in result.items()}
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


@jax.custom_jvp
def bernoulli(logits: Float[Array, "*B N"], values: Float[Array, "*B N"]) -> Float[Array, "*B"]:
    """−log p of N independent values in [0, 1], in nats, from one exponential of each and a sixteenth of a logarithm.

    Its gradient by the logits, σ(logit) − value, is made of the same exponential.
    """
    rest = jnp.maximum(logits, 0.0) - logits * values
    return jnp.sum(_sixteen_together(rest, jnp.exp(-jnp.abs(logits))), axis=-1)


@bernoulli.defjvp
def _bernoulli_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (logits, values), (by_logits, by_values) = primals, tangents
    small = jnp.exp(-jnp.abs(logits))
    sigmoid = jnp.where(logits >= 0, 1.0, small) / (1.0 + small)
    return bernoulli(logits, values), jnp.sum((sigmoid - values) * by_logits - logits * by_values, axis=-1)


def _sixteen_together(rest: Float[Array, "*B N"], small: Float[Array, "*B N"]) -> Float[Array, "*B M"]:
    """Σ rest + log(1 + small) of sixteen values each; `small` is in [0, 1], so that a product of them is at most 2¹⁶.

    The product goes without its 1, (1 + a)(1 + b) − 1 = a + b + ab, or small numbers would be lost in it.
    """
    doublings = 4
    padding = [(0, 0)] * (rest.ndim - 1) + [(0, -rest.shape[-1] % 2**doublings)]
    rest, small = jnp.pad(rest, padding), jnp.pad(small, padding)
    for _ in range(doublings):
        one, other = jnp.split(small, 2, axis=-1)
        small = one + other + one * other
        rest = jnp.add(*jnp.split(rest, 2, axis=-1))
    return rest + jnp.log1p(small)


def _importance_weighted(
    model: Any, result: dict[str, jax.Array], batch: Batch, key: jax.Array, samples: int
) -> jax.Array:
    """The bound of each example [B]. One code after the other, so memory doesn't grow with their number."""
    inputs = batch["inputs"].astype(jnp.float32)
    precise = {name: value.astype(jnp.float32) for name, value in result.items()}
    mean, log_variance = precise["mean"], precise["log_variance"]

    def body(total: jax.Array, at: jax.Array) -> tuple[jax.Array, None]:
        noise = jax.random.normal(jax.random.fold_in(key, at), mean.shape, jnp.float32)
        codes = mean + jnp.exp(0.5 * log_variance) * noise
        outputs = model.decode(codes.astype(result["mean"].dtype)).astype(jnp.float32)
        # log p(z) - log q(z|x): the normalizers cancel, but for the deviations
        ratio = 0.5 * jnp.sum(jnp.square(noise) + log_variance - jnp.square(codes), axis=-1)
        log_weight = ratio - _negative_log_likelihood({**precise, "outputs": outputs}, inputs)
        return jnp.logaddexp(total, log_weight), None

    start = jnp.full(inputs.shape[0], -jnp.inf, jnp.float32)
    return jax.lax.scan(body, start, jnp.arange(samples))[0] - math.log(samples)


def _negative_log_likelihood(result: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """−log p(x|z) of each example [B], in nats."""
    number = inputs.shape[0]
    if "output_log_variance" not in result:
        return bernoulli(result["outputs"].reshape(number, -1), inputs.reshape(number, -1))
    log_variance = result["output_log_variance"]
    squared = jnp.square(result["outputs"] - inputs) * jnp.exp(-log_variance)
    per_value = 0.5 * (math.log(2 * math.pi) + log_variance + squared)
    return jnp.sum(per_value.reshape(number, -1), axis=-1)
