"""Where a token stands in its sequence: rotary, sinusoidal and learned positions."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Positions = Literal["rotary", "learned", "sinusoidal", "none"]
Rotation = tuple[jax.Array, jax.Array]  # cosines and sines [T, H / 2], f32


def rotation(positions: Int[Array, " T"], features: int, base: float) -> Rotation:
    """The angles of rotary positions (Su et al. 2021) in heads of H `features`: position × base^(-2i / H)."""
    frequencies = base ** (-jnp.arange(0, features, 2, dtype=jnp.float32) / features)
    angles = positions.astype(jnp.float32)[:, None] * frequencies[None, :]  # [T, H / 2]
    return jnp.cos(angles), jnp.sin(angles)


def rotated(values: Float[Array, "B T N H"], by: Rotation) -> Float[Array, "B T N H"]:
    """Each pair of dims turned by its angle; dim i is paired with dim i + H/2, as in the published Llama weights.

    Turned in f32 whatever the values' type is: in bf16 the angles of distant tokens would run together.
    """
    cosine, sine = (part[None, :, None, :] for part in by)
    first, second = jnp.split(values.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.astype(values.dtype)


def sinusoidal(positions: Int[Array, "*B T"], features: int) -> Float[Array, "*B T D"]:
    """Sines in the first half of the dims, cosines in the second (Vaswani et al. 2017 alternate them), f32."""
    half = (features + 1) // 2
    frequencies = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions.astype(jnp.float32)[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :features]


def within_segments(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The position of each token in its own sequence, where several are packed into a row."""
    steps = jnp.broadcast_to(jnp.arange(segments.shape[1]), segments.shape)
    changes = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
    return steps - jax.lax.cummax(jnp.where(changes, steps, 0), axis=1)
