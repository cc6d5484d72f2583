"""CutMix."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bigtrain.augment.augmentation import Batch
from bigtrain.augment.erase import box
from bigtrain.augment.images import check_images
from bigtrain.augment.mixing import check_mixes, partner, with_targets
from bigtrain.config.values import PositiveFloat
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class CutMix:
    """Paste a box of one image into another, and mix the targets by area (Yun et al. 2019).

    Args:
        spec: the data, which must be images.
        alpha: the area that is kept is drawn from Beta(alpha, alpha); 1 draws every area alike.
    """

    spec: Spec
    alpha: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        check_images(self.spec, "cutmix")
        check_mixes(self.spec, "cutmix")

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """See `Augmentation`."""
        images = batch["inputs"]
        number, height, width = images.shape[:3]
        how_much, where = jax.random.split(key)
        alpha = jnp.asarray(self.alpha, jnp.float32)
        side = jnp.sqrt(1.0 - jax.random.beta(how_much, alpha, alpha, (number,)))
        inside = box(where, images.shape[:3], height * side, width * side)
        kept = 1.0 - jnp.mean(inside, axis=(1, 2), dtype=jnp.float32)  # what the border cut off counts
        inside = inside.reshape(*inside.shape, *(1,) * (images.ndim - 3))
        return with_targets(batch, self.spec, jnp.where(inside, partner(images), images), kept, "cutmix")
