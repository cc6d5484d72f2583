"""Random small rotations."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from bigtrain.augment.augmentation import Batch
from bigtrain.augment.images import check_images
from bigtrain.config.values import NonNegativeFloat
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class Rotate:
    """Turn images about their centre by a random small angle, interpolating between pixels; corners become 0.

    Args:
        spec: the data, which must be images.
        degrees: the largest angle, in either direction.
    """

    spec: Spec
    degrees: NonNegativeFloat = 10.0

    def __post_init__(self) -> None:
        check_images(self.spec, "rotate")

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """See `Augmentation`."""
        images = batch["inputs"]
        limit = jnp.deg2rad(jnp.asarray(self.degrees, jnp.float32))
        angles = limit * jax.random.uniform(key, (images.shape[0],), minval=-1.0, maxval=1.0)
        return {**batch, "inputs": jax.vmap(rotated)(images, angles)}


def rotated(image: jax.Array, angle: jax.Array) -> jax.Array:
    """An image [H, W] or [H, W, C] turned counter-clockwise by an angle in radians."""
    height, width = image.shape[:2]
    middle = ((height - 1) / 2, (width - 1) / 2)
    down, right = jnp.meshgrid(jnp.arange(height) - middle[0], jnp.arange(width) - middle[1], indexing="ij")
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source = [cos * down + sin * right + middle[0], cos * right - sin * down + middle[1]]

    def channel(plane: jax.Array) -> jax.Array:
        return map_coordinates(plane, source, order=1, mode="constant", cval=0.0)

    return channel(image) if image.ndim == 2 else jax.vmap(channel, in_axes=-1, out_axes=-1)(image)
