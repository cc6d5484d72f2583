"""Cutout: a square of each image is blanked out."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bigtrain.augment.augmentation import Batch
from bigtrain.augment.images import check_images, chosen
from bigtrain.config.errors import ConfigError
from bigtrain.config.values import Fraction, PositiveInt
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class Erase:
    """Blank out a square at a random place of each image (Cutout, DeVries & Taylor 2017).

    Args:
        spec: the data, which must be images.
        size: side of the square in pixels; it may reach over the border.
        probability: how likely an image loses a square.
    """

    spec: Spec
    size: PositiveInt = 8
    probability: Fraction = 0.5

    def __post_init__(self) -> None:
        least = min(check_images(self.spec, "erase"))
        if self.size >= 2 * least:
            problem = f"a square of {self.size} hides an image with a side of {least}"
            raise ConfigError("augment.erase.size", problem, allowed=f"1 to {2 * least - 1}")

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """See `Augmentation`."""
        images = batch["inputs"]
        at, whether = jax.random.split(key)
        inside = box(at, images.shape[:3], jnp.full(images.shape[0], self.size), jnp.full(images.shape[0], self.size))
        inside = inside.reshape(*inside.shape, *(1,) * (images.ndim - 3))
        return {**batch, "inputs": jnp.where(inside & chosen(whether, images, self.probability), 0.0, images)}


def box(key: jax.Array, shape: tuple[int, ...], heights: jax.Array, widths: jax.Array) -> jax.Array:
    """Which pixels [B, H, W] lie in a box with a random centre; `heights` and `widths` are of one box an example."""
    batch, height, width = shape
    centres = jax.random.uniform(key, (batch, 2)) * jnp.array([[height, width]], jnp.float32)
    inside = []
    for axis, sides in enumerate((heights, widths)):
        first = jnp.round(centres[:, axis] - sides / 2)
        places = jnp.arange(shape[axis + 1])[None]
        inside.append((places >= first[:, None]) & (places < jnp.round(first + sides)[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]
