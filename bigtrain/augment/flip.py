"""Random mirroring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from bigtrain.augment.augmentation import Batch
from bigtrain.augment.images import check_images, chosen
from bigtrain.config.values import Fraction
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class Flip:
    """Mirror images at random; not for digits and letters, which mean something else mirrored.

    Args:
        spec: the data, which must be images.
        direction: `horizontal` swaps left and right, `vertical` top and bottom.
        probability: how likely an image is mirrored.
    """

    spec: Spec
    direction: Literal["horizontal", "vertical"] = "horizontal"
    probability: Fraction = 0.5

    def __post_init__(self) -> None:
        check_images(self.spec, "flip")

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """See `Augmentation`."""
        images = batch["inputs"]
        mirrored = jnp.flip(images, axis=2 if self.direction == "horizontal" else 1)
        return {**batch, "inputs": jnp.where(chosen(key, images, self.probability), mirrored, images)}
