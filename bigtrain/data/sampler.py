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


def _drawn(values: np.ndarray, key: int, bound: int) -> np.ndarray:
    """A hash of each uint64 value and the key, spread evenly over `range(bound)`; `bound` is at most 2^32."""
    values = (values ^ np.uint64(key)) + np.uint64(0x9E37_79B9_7F4A_7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return ((values >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)  # multiply and shift: a division costs 5x


def _added(left: np.ndarray, right: np.ndarray, modulus: int) -> np.ndarray:
    """`(left + right) % modulus` for uint64 values below the modulus: an unneeded subtraction wraps to the larger."""
    total = left + right
    return np.minimum(total, total - np.uint64(modulus))


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
    flat = np.asarray(positions, dtype=np.int64).reshape(-1).astype(np.uint64)
    pending = np.arange(flat.size)
    values = flat
    while pending.size:  # each pass leaves under (rows / size) of the values outside; they are sent through again
        values = _network(values, rows, columns, keys)
        flat[pending] = values
        outside = values >= np.uint64(size)
        pending, values = pending[outside], values[outside]
    return flat.astype(np.int64).reshape(np.shape(positions))


def _network(values: np.ndarray, rows: int, columns: int, keys: list[int]) -> np.ndarray:
    """One pass of the Feistel network over uint64 values below `rows * columns`."""
    left, right = np.divmod(values, np.uint64(columns))
    for turn in range(0, ROUNDS, 2):
        left = _added(left, _drawn(right, keys[turn], rows), rows)
        right = _added(right, _drawn(left, keys[turn + 1], columns), columns)
    return left * np.uint64(columns) + right


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
    epochs, places = np.divmod(np.arange(at * length, (at + 1) * length, dtype=np.int64), size)
    indices = np.empty_like(places)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        here = epochs == epoch
        indices[here] = permuted(places[here], size, seed, epoch)
    return indices
