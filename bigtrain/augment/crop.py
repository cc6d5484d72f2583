"""Random shifts: a padded image cut back to its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from bigtrain.augment.augmentation import Batch
from bigtrain.augment.images import check_images
from bigtrain.config.errors import ConfigError
from bigtrain.config.values import PositiveInt
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class Crop:
    """Pad images on all sides and cut a random part of the original size out (Krizhevsky et al. 2012).

    Args:
        spec: the data, which must be images.
        padding: pixels added on each side; an image moves by up to this much in either direction.
        mode: what is added: the image reflected at its border, or zeros.
    """

    spec: Spec
    padding: PositiveInt = 4
    mode: Literal["reflect", "zero"] = "reflect"

    def __post_init__(self) -> None:
        least = min(check_images(self.spec, "crop"))
        if self.padding >= least:
            problem = f"{self.padding} pixels are no part of a side of {least}"
            raise ConfigError("augment.crop.padding", problem, allowed=f"1 to {least - 1}")

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """See `Augmentation`."""
        images = batch["inputs"]
        sides = ((self.padding, self.padding), (self.padding, self.padding), *((0, 0),) * (images.ndim - 3))
        corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * self.padding + 1)

        def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
            padded = jnp.pad(image, sides, mode="reflect" if self.mode == "reflect" else "constant")
            start = (corner[0], corner[1], *(jnp.zeros((), corner.dtype),) * (image.ndim - 2))
            return jax.lax.dynamic_slice(padded, start, image.shape)

        return {**batch, "inputs": jax.vmap(cut)(images, corners)}
