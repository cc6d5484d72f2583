"""From arrays of one process to arrays over the devices of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding


def put(values: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process has as a whole, on the devices; each process fills its own.

    `jax.device_put` would compare the values of all processes each time.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(values, sharding)
    host = np.asarray(values)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


@dataclass(frozen=True)
class Share:
    """The rows of each batch that the devices of this process take.

    Args:
        sharding: of arrays [S, B, …].
        size: B.
        rows: their places in the batch, ascending; None for all of them, in a process by itself.
    """

    sharding: NamedSharding
    size: int
    rows: np.ndarray | None = None

    @classmethod
    def of(cls, sharding: NamedSharding, size: int) -> Share:
        """The share of this process in batches of `size`."""
        if sharding.is_fully_addressable:
            return cls(sharding, size)
        indices = sharding.addressable_devices_indices_map((1, size)).values()
        own = {index[1].indices(size)[:2] for index in indices if index is not None}
        return cls(sharding, size, np.unique(np.concatenate([np.arange(*ends) for ends in own])))

    def __len__(self) -> int:
        """How many rows it is."""
        return self.size if self.rows is None else len(self.rows)

    def take(self, batches: np.ndarray) -> np.ndarray:
        """The own columns of [S, B], for instance of the indices of examples."""
        return batches if self.rows is None else batches[:, self.rows]

    def put(self, values: np.ndarray) -> jax.Array:
        """Own rows [S, len(self), …] as a part of the array [S, B, …] over the devices of all processes."""
        if self.rows is None:
            return jax.device_put(values, self.sharding)
        rows = self.rows

        def part(index: Sequence[slice]) -> np.ndarray:
            first, last, _ = index[1].indices(self.size)
            at = int(np.searchsorted(rows, first))
            return values[:, at : at + last - first]

        shape = (values.shape[0], self.size, *values.shape[2:])
        return jax.make_array_from_callback(shape, self.sharding, part)
