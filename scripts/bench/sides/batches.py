"""The data of a worker as arrays, and the order in which batches are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np


def split(folder: Path, name: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a split ('train', 'val', 'test'), cut to whole batches.

    The same number of updates an epoch in every framework then needs no last, smaller batch.
    """
    inputs, targets = np.load(folder / f"x_{name}.npy"), np.load(folder / f"y_{name}.npy")
    whole = max(1, len(inputs) // batch) * batch
    return inputs[:whole], targets[:whole]


def order(examples: int, batch: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Indices [B] of one batch after the other, for ever: every example once an epoch, shuffled anew in each."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(examples).astype(np.int32).reshape(-1, batch)
