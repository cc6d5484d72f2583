"""What the augmentations of images share: which data they are for, and numbers drawn one an example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec

Images = Float[Array, "B H W *C"]


def check_images(spec: Spec, name: str) -> tuple[int, int]:
    """Height and width of the data's images; other data is refused.

    Raises:
        ConfigError: naming the augmentation.
    """
    sequence = "lengths" in spec.fields or (spec.reader is not None and spec.reader.kind != "image")
    if spec.inputs.kind != "features" or len(spec.inputs.shape) not in (2, 3) or sequence:
        shape = "x".join(map(str, spec.inputs.shape))
        has = f"tokens [{shape}]" if spec.inputs.kind == "tokens" else f"inputs [{shape}] that are no images"
        problem = f"changes images, and data {spec.name!r} has {has}"
        raise ConfigError(f"augment.{name}", problem, hint="take it out of augment=[…]; see bigtrain configs augment")
    height, width = spec.inputs.shape[:2]
    return height, width


def per_example(values: jax.Array, like: jax.Array) -> jax.Array:
    """One value an example [B], in a shape that multiplies a batch [B, …]."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def chosen(key: jax.Array, like: jax.Array, probability: float | jax.Array) -> jax.Array:
    """Which examples are changed: true with `probability`, drawn once an example; in a shape for `jnp.where`."""
    return per_example(jax.random.uniform(key, (like.shape[0],)) < jnp.asarray(probability), like)
