"""The order of the data as a pure function of (seed, step).

Nothing is stored and nothing is shuffled in place: the example at position `p` of epoch `e` is one evaluation of a
keyed permutation, so a run resumes from an integer, every placement and every process count sees the same order, and
a set of 10^9 examples costs no memory.

The permutation is a generalised Feistel network on Z_a × Z_b with a·b ≥ n (Black & Rogaway, "Ciphers with arbitrary
finite domains", CT-RSA 2002), walked until the value falls below n; a and b are chosen so that a·b exceeds n by less
than its square root, and hardly any value is walked twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ROUNDS = 8  # four passes over each half: statistically indistinguishable from uniform in the tests of this module
BLOCK = 1 << 14  # positions worked out at once
_MASK = 0xFFFF_FFFF_FFFF_FFFF


def _mixed(value: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014) on a Python integer."""
    value = (value + 0x9E37_79B9_7F4A_7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return value ^ (value >> 31)


def _turn(half: np.ndarray, other: np.ndarray, key: int, modulus: int, room: tuple[np.ndarray, np.ndarray]) -> None:
    """Adds a hash of each value of `other` and the key to `half`, modulo at most 2^32, in place (0.6 of the time).

    The hash is the finaliser of splitmix64, spread evenly over `range(modulus)`.
    """
    drawn, shifted = room
    np.bitwise_xor(other, np.uint64(key), out=drawn)
    drawn += np.uint64(0x9E37_79B9_7F4A_7C15)
    for shift, factor in ((30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB)):
        np.right_shift(drawn, np.uint64(shift), out=shifted)
        drawn ^= shifted
        drawn *= np.uint64(factor)
    drawn >>= np.uint64(32)
    drawn *= np.uint64(modulus)  # multiply and shift: a division costs 5x
    drawn >>= np.uint64(32)
    half += drawn
    np.subtract(half, np.uint64(modulus), out=shifted)  # where that isn't needed it wraps to the larger
    np.minimum(half, shifted, out=half)


def permuted(positions: np.ndarray, size: int, *key: int) -> np.ndarray:
    """Where a keyed permutation of `range(size)` sends each of `positions`.

    Args:
        positions: integers in `[0, size)`, any shape.
        size: how many items are permuted; any integer from 1 to 2^62.
        key: integers that choose the permutation, for instance a seed and an epoch.

    Returns:
        int64 of the shape of `positions`, distinct wherever the positions are.
    """
    if not 1 <= size <= 1 << 62:
        raise ValueError(f"size must lie in [1, 2^62], got {size}")
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    state = 0
    for part in key:
        state = _mixed(state ^ (part & _MASK))
    keys = [_mixed(state + turn + 1) for turn in range(ROUNDS)]
    values = _network(np.asarray(positions, dtype=np.uint64).reshape(-1), rows, columns, keys)
    outside = np.flatnonzero(values >= np.uint64(size))
    while outside.size:  # each pass leaves under (rows / size) of the values outside; they are sent through again
        values[outside] = _network(values[outside], rows, columns, keys)
        outside = outside[values[outside] >= np.uint64(size)]
    return values.astype(np.int64).reshape(np.shape(positions))


def _network(values: np.ndarray, rows: int, columns: int, keys: list[int]) -> np.ndarray:
    """One pass of the Feistel network over uint64 values below `rows * columns`."""
    left, right = np.divmod(values, np.uint64(columns))
    room = np.empty_like(left), np.empty_like(left)
    for turn in range(0, ROUNDS, 2):
        _turn(left, right, keys[turn], rows, room)
        _turn(right, left, keys[turn + 1], columns, room)
    left *= np.uint64(columns)
    left += right
    return left


@dataclass(frozen=True)
class Order:
    """The endless sequence of examples that training reads: one permutation an epoch, no example dropped.

    Batches run on across the end of an epoch, so every example is seen once an epoch whatever the batch size.
    """

    size: int
    batch_size: int
    seed: int
    skipped: int = 0  # batches that a run which went back has left out before the ones to come

    @property
    def steps_per_epoch(self) -> float:
        """Steps that read every example once; a fraction when the batch doesn't divide the set."""
        return self.size / self.batch_size

    def batches(self, step: int, number: int) -> np.ndarray:
        """Example indices of the `number` steps from `step` on: int64 [number, batch_size]."""
        first = (step + self.skipped) * self.batch_size
        last = first + number * self.batch_size
        length = min(BLOCK, 32 * self.size)
        blocks = [_block(self.size, self.seed, length, at) for at in range(first // length, -(-last // length))]
        offset = first // length * length
        return np.concatenate(blocks)[first - offset : last - offset].reshape(number, self.batch_size)


@lru_cache(maxsize=128)  # of 128 KB: members of a sweep that train together have one or two each
def _block(size: int, seed: int, length: int, at: int) -> np.ndarray:
    """The examples at positions [at * length, (at + 1) * length) of the endless sequence.

    Whole blocks, because NumPy costs 30 µs a pass however few the values: small batches share it.
    """
    first, last = at * length, (at + 1) * length
    indices = np.empty(length, np.int64)
    for epoch in range(first // size, -(-last // size)):
        begin, end = max(first, epoch * size), min(last, (epoch + 1) * size)
        places = np.arange(begin - epoch * size, end - epoch * size)
        indices[begin - first : end - first] = permuted(places, size, seed, epoch)
    return indices
