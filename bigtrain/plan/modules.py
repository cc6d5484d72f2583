"""Where the parameters are: numbers and bytes of each part of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bigtrain.train.state import TrainState

SHOWN = 12  # rows of a table that people read; what is smaller is put together


@dataclass(frozen=True)
class Part:
    """One part of the model."""

    name: str
    parameters: int
    bytes: int
    device_bytes: int  # on each device


def parts(state: TrainState) -> list[Part]:
    """The parts in the model's order, by the first names that tell them apart."""
    depth = shown_depth(list(state.params))
    found: dict[str, list[int]] = {}
    for name, leaf in state.params.items():
        sums = found.setdefault(".".join(name.split(".")[:depth]), [0, 0, 0])
        size, width = math.prod(leaf.shape), leaf.dtype.itemsize
        sums[0] += size
        sums[1] += size * width
        sums[2] += math.prod(leaf.sharding.shard_shape(leaf.shape)) * width
    return [Part(name, *sums) for name, sums in found.items()]


def shown_depth(names: list[str]) -> int:
    """How many names of a path are shown: as many as give at most `SHOWN` parts, but no single numbers or weights."""
    best = 1
    for depth in (2, 3):
        short = {".".join(name.split(".")[:depth]) for name in names}
        if len(short) <= SHOWN:
            best = depth
    return best
