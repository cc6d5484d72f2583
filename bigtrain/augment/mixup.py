"""Mixup."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bigtrain.augment.augmentation import Batch
from bigtrain.augment.images import per_example
from bigtrain.augment.mixing import check_mixes, partner, with_targets
from bigtrain.config.values import PositiveFloat
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class Mixup:
    """Train on weighted means of two examples and of their targets (Zhang et al. 2018).

    Args:
        spec: the data: real inputs, labels or real targets.
        alpha: the share of the first example is drawn from Beta(alpha, alpha): near 0 or 1 for a small alpha.
    """

    spec: Spec
    alpha: PositiveFloat = 0.2

    def __post_init__(self) -> None:
        check_mixes(self.spec, "mixup")

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """See `Augmentation`."""
        inputs = batch["inputs"]
        alpha = jnp.asarray(self.alpha, jnp.float32)
        share = jax.random.beta(key, alpha, alpha, (inputs.shape[0],))
        weight = per_example(share, inputs)
        mixed = weight * inputs + (1.0 - weight) * partner(inputs)
        return with_targets(batch, self.spec, mixed, share, "mixup")
