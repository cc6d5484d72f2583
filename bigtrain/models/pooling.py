"""Pooling over windows of any map, however small, and over all that is left of it."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from bigtrain.models.convolution import same

Pool = Literal["max", "average"]
Reduce = Literal["average", "max", "flatten"]


def pool(
    values: Float[Array, "B *space C"],
    kind: Pool,
    window: int,
    *,
    stride: int | None = None,
    centred: bool = False,
    valid: Bool[Array, "B T 1"] | None = None,
) -> Float[Array, "B *windows C"]:
    """The greatest or the mean value of each window, of those values of it that exist.

    Args:
        values: the map.
        kind: max or average.
        window: its size in each spatial dimension.
        stride: steps between two windows; by default the window's size.
        centred: windows are centred on the values, as a 'same' convolution's; otherwise the first one begins with the
            first value, and there are as many as it takes to cover the map: one over a map smaller than the window.
        valid: which steps of a sequence exist; by default all.
    """
    stride, rank = stride or window, values.ndim - 2
    pads = tuple(_pads(size, window, stride, centred) for size in values.shape[1:-1])
    sizes, steps = (1, *(window,) * rank, 1), (1, *(stride,) * rank, 1)
    around = ((0, 0), *pads, (0, 0))
    if kind == "max":
        lowest = np.asarray(-np.inf, values.dtype)[()]  # no traced value: JAX then knows the gradient
        found = values if valid is None else jnp.where(valid, values, lowest)
        greatest = lax.reduce_window(found, lowest, lax.max, sizes, steps, around)
        return greatest if valid is None else jnp.where(greatest == lowest, 0, greatest)
    exists = jnp.ones((1, *values.shape[1:-1], 1), values.dtype) if valid is None else valid.astype(values.dtype)
    zero = np.zeros((), values.dtype)[()]
    total = lax.reduce_window(values * exists, zero, lax.add, sizes, steps, around)
    return total / jnp.maximum(lax.reduce_window(exists, zero, lax.add, sizes, steps, around), 1)


def pooled_size(size: Any, window: int, stride: int | None, centred: bool) -> Any:
    """How many windows `pool` makes of so many values (an integer or an array of them); at least one."""
    stride = stride or window
    covering = -(-(size - (0 if centred else max(window - stride, 0))) // stride)
    return max(covering, 1) if isinstance(covering, int) else jnp.maximum(covering, 1)


def reduced(
    values: Float[Array, "B *space C"], how: Reduce, valid: Bool[Array, "B T 1"] | None = None
) -> Float[Array, "B D"]:
    """One vector an example: over all positions that exist, the mean or the greatest value, or all values in a row."""
    if how == "flatten":
        return values.reshape(values.shape[0], -1)
    space = tuple(range(1, values.ndim - 1))
    if how == "max":
        return jnp.max(values if valid is None else jnp.where(valid, values, -jnp.inf), axis=space)
    if valid is None:
        return jnp.mean(values, axis=space)
    exists = valid.astype(values.dtype)
    return jnp.sum(values * exists, axis=space) / jnp.sum(exists, axis=space)


def shrunk(values: Float[Array, "B *space C"], most: int) -> Float[Array, "B *cells C"]:
    """The means of `most` nearly equal cells in each spatial dimension; a map no larger than that stays as it is."""
    for axis in range(1, values.ndim - 1):
        size = values.shape[axis]
        if size > most:
            edges = [(math.floor(at * size / most), math.ceil((at + 1) * size / most)) for at in range(most)]
            cells = [jnp.mean(lax.slice_in_dim(values, *edge, axis=axis), axis=axis) for edge in edges]
            values = jnp.stack(cells, axis=axis)
    return values


def _pads(size: int, window: int, stride: int, centred: bool) -> tuple[int, int]:
    if centred:
        return same(size, window, stride)
    number = pooled_size(size, window, stride, centred)
    return 0, max(0, (int(number) - 1) * stride + window - size)
