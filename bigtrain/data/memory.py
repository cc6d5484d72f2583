"""Arrays in memory that a CPU device can take as they are."""

from __future__ import annotations

import math

import numpy as np

ALIGNMENT = 64  # bytes; XLA takes a host array without a copy from such an address on


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array, not yet filled, whose memory starts at a multiple of `ALIGNMENT` bytes."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def read(mapped: np.memmap) -> np.ndarray:
    """What a file holds, read into such an array: not through its map, whose pages would count as memory as well."""
    if not mapped.flags.c_contiguous or not mapped.size:
        return np.array(mapped)
    made = aligned(mapped.shape, mapped.dtype)
    with open(mapped.filename, "rb") as file:
        file.seek(mapped.offset)
        if file.readinto(made.reshape(-1).view(np.uint8)) != made.nbytes:
            raise EOFError("the file ended early")
    return made
