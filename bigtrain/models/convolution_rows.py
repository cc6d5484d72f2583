"""Convolution of small images with few channels, as one matrix product for all pieces of rows of all windows.

With few channels in, XLA's direct convolution on a CPU does 5 to 45 GFLOP/s, and a large matrix product 150. So pieces
of the image's rows are multiplied by a matrix that holds the kernel at each of its places, and zeros elsewhere: a piece
of W values under a window of w is W / w times the work, and still 1.2 to 4.5 times as fast (benchmarks/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from bigtrain.models.linear import product

MOST_FEATURES = 6  # input channels: with more, the direct convolution is as fast
MOST_CHANNELS = 192  # of input and output, multiplied
WIDEST = 72  # values of a row with its padding
NARROWEST = 64  # columns of the product: narrower ones are slow


def pays(width: int, window: int, stride: int, features: int, channels: int) -> bool:
    """Whether it is faster, for rows of `width` values with their padding."""
    few = features <= MOST_FEATURES and features * channels <= MOST_CHANNELS
    return few and window <= width <= WIDEST and stride == 1


def convolve_rows(
    values: Float[Array, "B H W C"],
    kernel: Float[Array, "h w C D"],
    strides: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    multiply: Callable[[jax.Array, jax.Array], jax.Array] = product,
) -> Float[Array, "B R S D"]:
    """The same as `lax.conv_general_dilated`; `multiply` is the matrix product, and which gradient it has."""
    high, wide, _, channels = kernel.shape
    padded = jnp.pad(values, ((0, 0), *pads, (0, 0)))
    batch, height, width = padded.shape[:3]
    rows, places = (height - high) // strides[0] + 1, (width - wide) // strides[1] + 1
    parts, length = pieces(places, channels)
    span, step = (length - 1) * strides[1] + wide, length * strides[1]
    padded = jnp.pad(padded, ((0, 0), (0, 0), (0, max(0, (parts - 1) * step + span - width)), (0, 0)))  # the last piece
    strips = [padded[:, :, at * step : at * step + span].reshape(batch, height, 1, -1) for at in range(parts)]
    lines = jnp.concatenate(strips, axis=2)
    matrix = jnp.einsum("wpk,hkcd->hwcpd", _places(span, length, wide, strides[1], kernel.dtype), kernel)
    last = strides[0] * (rows - 1) + 1
    seen = jnp.concatenate([lines[:, at : at + last : strides[0]] for at in range(high)], axis=-1)
    found = multiply(seen.reshape(batch * rows * parts, -1), matrix.reshape(-1, length * channels))
    return found.reshape(batch, rows, parts * length, channels)[:, :, :places]


def pieces(places: int, channels: int) -> tuple[int, int]:
    """Into how many pieces a row is cut, and the places of each; the last one may have some that are beyond the row.

    Shorter ones mean fewer zeros in the matrix, and a narrower product.
    """
    length = -(-places // max(1, places * channels // NARROWEST))
    return -(-places // length), length


def _places(width: int, places: int, window: int, stride: int, dtype: jnp.dtype) -> Float[Array, "W P w"]:
    """1 where value w of the row is under value k of the window at place p."""
    at = stride * np.arange(places)[:, None] + np.arange(window)
    return jnp.asarray(np.arange(width)[:, None, None] == at, dtype)
