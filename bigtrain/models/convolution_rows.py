"""Convolution of small images with few channels, as one matrix product for all rows of all windows.

With few channels, XLA's direct convolution on a CPU does 5 to 45 GFLOP/s, and a large matrix product 150. So whole
rows of the image are multiplied by a matrix that holds the kernel at each of its places, and zeros elsewhere: a row of
W values under a window of w is W / w times the work, and still faster where that is small (benchmarks/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from bigtrain.models.linear import product

MOST_CHANNELS = 128  # of input and output, multiplied: beyond, the direct convolution is fast
MOST_WORK = 7  # times that of the convolution


def pays(width: int, window: int, features: int, channels: int) -> bool:
    """Whether it is faster, for rows of `width` values with their padding."""
    return features * channels <= MOST_CHANNELS and width <= MOST_WORK * window


def convolve_rows(
    values: Float[Array, "B H W C"],
    kernel: Float[Array, "h w C D"],
    strides: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    multiply: Callable[[jax.Array, jax.Array], jax.Array] = product,
) -> Float[Array, "B R S D"]:
    """The same as `lax.conv_general_dilated`; `multiply` is the matrix product, and which gradient it has."""
    high, wide, features, channels = kernel.shape
    padded = jnp.pad(values, ((0, 0), *pads, (0, 0)))
    batch, height, width = padded.shape[:3]
    rows, places = (height - high) // strides[0] + 1, (width - wide) // strides[1] + 1
    matrix = jnp.einsum("wpk,hkcd->hwcpd", _places(width, places, wide, strides[1], kernel.dtype), kernel)
    lines = padded.reshape(batch, height, width * features)
    last = strides[0] * (rows - 1) + 1
    seen = jnp.concatenate([lines[:, at : at + last : strides[0]] for at in range(high)], axis=-1)
    found = multiply(seen.reshape(batch * rows, -1), matrix.reshape(-1, places * channels))
    return found.reshape(batch, rows, places, channels)


def _places(width: int, places: int, window: int, stride: int, dtype: jnp.dtype) -> Float[Array, "W P w"]:
    """1 where value w of the row is under value k of the window at place p."""
    at = stride * np.arange(places)[:, None] + np.arange(window)
    return jnp.asarray(np.arange(width)[:, None, None] == at, dtype)
