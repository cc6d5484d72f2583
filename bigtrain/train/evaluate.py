"""Scores of a split: every example counted exactly once, whatever the batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bigtrain.data.ahead import ahead
from bigtrain.data.placement import CHUNK_BYTES, Feed, put_chunk
from bigtrain.data.spec import Source, Spec
from bigtrain.parallel.arrays import Share
from bigtrain.parallel.pulse import beat
from bigtrain.parallel.rules import Rules
from bigtrain.train.once import Once
from bigtrain.train.program import Program
from bigtrain.train.state import TrainState

KEPT_BYTES = 256 << 20  # a smaller split stays on the device between evaluations
Chunk = tuple[Feed, jax.Array, int]  # examples [S, B, …], their weights [S, B], batches used


@dataclass(frozen=True)
class Batching:
    """How evaluation splits are cut into chunks of equal shape; what is missing in the last batch has weight 0."""

    spec: Spec
    rules: Rules
    batch_size: int
    capacity: int

    @classmethod
    def of(cls, spec: Spec, rules: Rules, batch_size: int, largest: int) -> Batching:
        """The batching for splits of up to `largest` examples; the batch is rounded up to what the devices share."""
        ways = rules.ways("batch")
        batch_size = math.ceil(min(batch_size, max(largest, 1)) / ways) * ways
        room = max(1, CHUNK_BYTES // max(1, spec.example_bytes * batch_size))
        return cls(spec, rules, batch_size, max(1, min(room, math.ceil(largest / batch_size))))

    def abstract(self) -> tuple[Feed, jax.ShapeDtypeStruct]:
        """A chunk as shapes with shardings."""
        lead, sharding = (self.capacity, self.batch_size), self.rules.sharding((None, "batch"))
        fields = {
            name: jax.ShapeDtypeStruct((*lead, *field.shape), field.dtype, sharding=sharding)
            for name, field in self.spec.fields.items()
        }
        return fields, jax.ShapeDtypeStruct(lead, jnp.float32, sharding=sharding)

    def chunks(self, source: Source) -> Iterator[Chunk]:
        """The whole source in order."""
        share = Share.of(self.rules.sharding((None, "batch")), self.batch_size)
        rows = self.capacity * self.batch_size
        for first in range(0, len(source), rows):
            indices = np.arange(first, min(first + rows, len(source)))
            number = math.ceil(len(indices) / self.batch_size)
            padded = np.concatenate([indices, np.full(number * self.batch_size - len(indices), indices[-1])])
            weights = np.zeros((self.capacity, self.batch_size), np.float32)
            weights.reshape(-1)[: len(indices)] = 1.0
            own = share.take(padded.reshape(number, self.batch_size)).reshape(-1)
            feed = put_chunk(source[own], self.spec, number, self.capacity, share)
            yield feed, share.put(share.take(weights)), number


class Scorer:
    """Evaluates states on one split; a small split is sent to the device once, for all scorers with the same `once`."""

    def __init__(
        self,
        program: Program,
        batching: Batching,
        source: Source,
        numbers: Mapping[str, Any],
        once: Once | None = None,
    ) -> None:
        self.program, self.batching, self.source, self.numbers = program, batching, source, numbers
        keep = len(source) * batching.spec.example_bytes <= KEPT_BYTES
        self._kept: list[Chunk] | None = None
        if keep:
            self._kept = (once or Once()).chunks(batching, source, lambda: list(batching.chunks(source)))

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The mean of the loss and of every metric over the split."""
        sums: dict[str, np.ndarray] = {}
        roots: set[str] = set()
        chunks = self._kept if self._kept is not None else ahead(self.batching.chunks(self.source), 1)
        for feed, weights, number in chunks:
            found = jax.device_get(self.program.evaluate(state, feed, weights, number, self.numbers))  # blocks
            beat()
            for name, mean in found.items():
                roots |= {name} if mean.root else set()
                sums[name] = sums.get(name, np.zeros(2)) + np.array([mean.total, mean.weight], np.float64)
        means = {name: float(total / weight) for name, (total, weight) in sums.items()}
        return means | {name: math.sqrt(means[name]) for name in roots}
