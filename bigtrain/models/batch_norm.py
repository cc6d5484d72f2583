"""Batch normalization whose running statistics don't depend on how a batch is cut up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

MOMENTUM = 0.9  # of the running statistics; He et al. 2015 and most since


class Statistic(nnx.BatchStat[jax.Array]):
    """A statistic of a batch that `pooled` can put together from those of its microbatches."""


class BatchNorm(nnx.Module):
    """Normalizes each channel over the batch and all positions (Ioffe & Szegedy 2015).

    In training it uses the mean and the variance of the batch at hand, over all devices it is split over (the mean of a
    split array is the mean of all of it), and moves the running statistics, which evaluation uses, towards them. Of a
    batch computed in microbatches, each microbatch is normalized by its own statistics - that can't be otherwise, since
    the later ones don't exist yet - but the running statistics move once, to where the whole batch takes them.
    """

    def __init__(self, features: int, *, momentum: float = MOMENTUM, epsilon: float = 1e-5, rngs: nnx.Rngs) -> None:
        self.epsilon, self.use_running_average = epsilon, False
        self.momentum = momentum
        self.scale, self.bias = nnx.Param(jnp.ones(features)), nnx.Param(jnp.zeros(features))
        self.mean = Statistic(jnp.zeros(features))
        self.var = Statistic(jnp.ones(features))
        self.count = Statistic(jnp.zeros(()), momentum=momentum)  # positions in the last batch, to weigh microbatches

    def __call__(
        self, values: Float[Array, "B *space C"], valid: Bool[Array, "B *space 1"] | None = None
    ) -> Float[Array, "B *space C"]:
        """The normalized values, in the type they came in; statistics are computed in f32.

        Args:
            values: the batch.
            valid: which positions count; by default all.
        """
        precise = values.astype(jnp.float32)
        if self.use_running_average:
            mean, variance = self.mean[...], self.var[...]
        else:
            mean, variance = self._measured(precise, valid)
        scale = jax.lax.rsqrt(variance + self.epsilon) * self.scale[...].astype(jnp.float32)
        return ((precise - mean) * scale + self.bias[...].astype(jnp.float32)).astype(values.dtype)

    def _measured(
        self, values: Float[Array, "B *space C"], valid: Bool[Array, "B *space 1"] | None
    ) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
        """The batch's mean and (biased) variance; the running ones move towards them."""
        positions, weights = tuple(range(values.ndim - 1)), None if valid is None else valid.astype(jnp.float32)
        count = jnp.float32(values.size // values.shape[-1]) if weights is None else jnp.sum(weights)
        total = 1.0 / jnp.maximum(count, 1)
        mean = jnp.sum(values if weights is None else values * weights, axis=positions) * total
        squared = jnp.square(values - mean)
        variance = jnp.sum(squared if weights is None else squared * weights, axis=positions) * total
        kept = self.momentum
        self.mean[...] = kept * self.mean[...] + (1 - kept) * jax.lax.stop_gradient(mean)
        self.var[...] = kept * self.var[...] + (1 - kept) * jax.lax.stop_gradient(variance)
        self.count[...] = jax.lax.stop_gradient(count)
        return mean, variance


def pooled(
    means: jax.Array, variances: jax.Array, counts: jax.Array, momentum: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The running statistics after the whole batch, from those after each microbatch [A, …, C] and its count [A, …].

    Each started from the same running statistics m, v. With weights w = n_i / n the mean after the whole batch is
    Σ w m_i'. A variance within parts lacks that between their means: Σ w v_i' + Σ w (m_i' - m')² / (1 - momentum),
    since the running means spread by (1 - momentum) times as much as the microbatches' own.
    """
    total = jnp.sum(counts, axis=0)
    share = (counts / jnp.maximum(total, 1))[..., None]
    mean = jnp.sum(share * means, axis=0)
    between = jnp.sum(share * jnp.square(means - mean), axis=0) / (1 - momentum)
    return mean, jnp.sum(share * variances, axis=0) + between, total
