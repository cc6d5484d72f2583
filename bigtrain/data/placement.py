"""Where the data lives: on the device, or streamed to it. The only file under `data` that touches JAX.

Both placements give the compiled program the same batches in the same order: the order comes from `sampler.Order`, the
placement only decides whether indices or examples travel to the device.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bigtrain.data.ahead import ahead
from bigtrain.data.arrays import Arrays
from bigtrain.data.memory import aligned
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Field, Source, Spec
from bigtrain.data.workers import batches
from bigtrain.parallel.arrays import Share, put
from bigtrain.parallel.rules import Rules

Feed = Any
"""What one dispatch takes: ({name: [N, …]}, indices [S, B]) when resident, {name: [S, B, …]} when streamed."""

CPU_RESIDENT_BYTES = 1 << 29  # on a CPU a larger training set is streamed: the copy would double what it takes
DEVICE_SHARE = 0.25  # of an accelerator's memory, at most so much is given to the training set
CHUNK_BYTES = 64 << 20  # at most this much is gathered for one dispatch
QUEUED = 2  # chunks that a streaming thread prepares ahead
STEPS, STREAMED_STEPS = 4096, 64  # at most so many in a dispatch: indices are small, examples are copied
BLOCK = 8192  # examples read at a time where a whole set is put on the devices
INDEX_BYTES = 1 << 20  # at most this much of indices for one dispatch


@dataclass(frozen=True)
class Dispatch:
    """One call of the compiled program: `number` steps, the first of which is step `step`."""

    step: int
    number: int


class Placement(Protocol):
    """Turns a plan of dispatches into feeds."""

    @property
    def capacity(self) -> int:
        """Steps that one feed has room for; a dispatch may use fewer."""
        ...

    def abstract(self) -> Feed:
        """A feed as shapes with shardings."""
        ...

    def feeds(self, dispatches: Iterable[Dispatch]) -> Iterator[tuple[Dispatch, Feed]]:
        """Each dispatch with its feed, in order."""
        ...


def take(feed: Feed, at: jax.Array | int) -> dict[str, jax.Array]:
    """Batch number `at` of a feed, inside the compiled program.

    It must be there, and not be counted from the end: on a GPU, to check or to turn a number round is a kernel a step.
    """
    if isinstance(feed, tuple):
        arrays, indices = feed
        rows = _entry(indices, at)
        given = {"mode": "promise_in_bounds", "wrap_negative_indices": False}
        return {name: array.at[rows].get(**given) for name, array in arrays.items()}
    return {name: _entry(array, at) for name, array in feed.items()}


def _entry(array: jax.Array, at: jax.Array | int) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(array, at, keepdims=False, allow_negative_indices=False)


def prepare(spec: Spec, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """A stored batch as the model sees it: real values as f32 in their own scale, tokens and labels as int32."""
    return {
        name: _prepared(spec.fields[name], value) if name in spec.fields else value for name, value in batch.items()
    }


def _prepared(field: Field, values: jax.Array) -> jax.Array:
    if field.kind in ("features", "real"):
        real = values.astype(jnp.float32)
        scaled = real if field.scale == 1.0 else real * jnp.float32(field.scale)
        return scaled if field.shift == 0.0 else scaled + jnp.float32(field.shift)
    return values.astype(jnp.int32)


@dataclass(frozen=True)
class Resident:
    """The whole set on every device; only indices travel, four bytes an example."""

    arrays: dict[str, jax.Array]
    order: Order
    rules: Rules
    capacity: int

    @classmethod
    def of(cls, source: Source, order: Order, rules: Rules, capacity: int) -> Resident:
        """Puts a source on the devices."""
        arrays = whole(source)
        return cls({name: put(a, rules.sharding()) for name, a in arrays.items()}, order, rules, capacity)

    def abstract(self) -> Feed:
        """See `Placement`."""
        sharding = self.rules.sharding((None, "batch"))
        shape = (self.capacity, self.order.batch_size)
        arrays = {k: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for k, a in self.arrays.items()}
        return arrays, jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding)

    def feeds(self, dispatches: Iterable[Dispatch]) -> Iterator[tuple[Dispatch, Feed]]:
        """See `Placement`."""
        sharding = self.rules.sharding((None, "batch"))
        for dispatch in dispatches:
            indices = aligned((self.capacity, self.order.batch_size), np.dtype(np.int32))  # there at once, not copied
            indices[: dispatch.number] = self.order.batches(dispatch.step, dispatch.number)
            indices[dispatch.number :] = 0
            yield dispatch, (self.arrays, put(indices, sharding))


@dataclass(frozen=True)
class Streamed:
    """Batches gathered on the host by a thread, or by worker processes, that work ahead while the device computes.

    Of several processes of a run, each gathers the rows that its own devices take.
    """

    source: Source
    spec: Spec
    order: Order
    rules: Rules
    capacity: int
    workers: int = 0

    def abstract(self) -> Feed:
        """See `Placement`."""
        lead, sharding = (self.capacity, self.order.batch_size), self.rules.sharding((None, "batch"))
        return {
            name: jax.ShapeDtypeStruct((*lead, *field.shape), field.dtype, sharding=sharding)
            for name, field in self.spec.fields.items()
        }

    @cached_property
    def share(self) -> Share:
        """What this process reads of each batch."""
        return Share.of(self.rules.sharding((None, "batch")), self.order.batch_size)

    def feeds(self, dispatches: Iterable[Dispatch]) -> Iterator[tuple[Dispatch, Feed]]:
        """See `Placement`."""
        if self.workers:
            return ahead(self._from_workers(dispatches), QUEUED)
        return ahead(((dispatch, self.gathered(dispatch)) for dispatch in dispatches), QUEUED)

    def _from_workers(self, dispatches: Iterable[Dispatch]) -> Iterator[tuple[Dispatch, Feed]]:
        """The same feeds, put together from batches that processes of their own have gathered."""
        with ExitStack() as closing:
            reading: Generator[dict[str, np.ndarray]] | None = None
            for dispatch in dispatches:
                if reading is None:
                    reading = batches(
                        self.source, self.order, start=dispatch.step, workers=self.workers,
                        batch_bytes=len(self.share) * self.spec.example_bytes, rows=self.share.rows,
                    )  # fmt: skip
                    closing.callback(reading.close)
                found = [next(reading) for _ in range(dispatch.number)]
                rows = {name: np.concatenate([batch[name] for batch in found]) for name in self.spec.fields}
                yield dispatch, self._put(rows, dispatch.number)

    def gathered(self, dispatch: Dispatch) -> Feed:
        """The feed of one dispatch: its batches gathered in one go, and room for the rest."""
        chosen = self.source[self.share.take(self.order.batches(dispatch.step, dispatch.number)).reshape(-1)]
        return self._put(chosen, dispatch.number)

    def _put(self, rows: Mapping[str, np.ndarray], number: int) -> Feed:
        return put_chunk(rows, self.spec, number, self.capacity, self.share)


def whole(source: Source) -> dict[str, np.ndarray]:
    """A whole source as arrays; what is in memory already, or lies well for a CPU device, isn't copied again."""
    if isinstance(source, Arrays) and source.indices is None:
        columns = dict(source.columns)
        if all(type(column) is np.ndarray for column in columns.values()):  # neither mapped nor converted as read
            return columns  # type: ignore[return-value]
    arrays: dict[str, np.ndarray] = {}
    for first in range(0, len(source), BLOCK):
        rows = source[np.arange(first, min(first + BLOCK, len(source)))]
        for name, values in rows.items():
            if name not in arrays:
                arrays[name] = aligned((len(source), *values.shape[1:]), values.dtype)
            arrays[name][first : first + len(values)] = values
    return arrays


def put_chunk(
    rows: Mapping[str, np.ndarray], spec: Spec, number: int, capacity: int, share: Share
) -> dict[str, jax.Array]:
    """This process's rows [number * len(share), …] as device arrays [capacity, B, …], zero beyond `number`.

    The host array is always a fresh one that lies well: on the CPU the device uses its memory without a copy.
    """
    feed = {}
    for name, field in spec.fields.items():
        chunk = aligned((capacity, len(share), *field.shape), np.dtype(field.dtype))
        chunk[:number] = rows[name].reshape(number, len(share), *field.shape)
        chunk[number:] = 0
        feed[name] = share.put(chunk)
    return feed


def choose(
    source: Source, spec: Spec, order: Order, rules: Rules, *, placement: str, capacity: int | None, workers: int = 0
) -> tuple[Resident | Streamed, str]:
    """The placement that the config asks for, or the one that fits, and why.

    Args:
        source: the training split.
        spec: what it holds.
        order: in which order it is read.
        rules: how batches are sharded.
        placement: 'resident', 'stream' or 'auto'.
        capacity: steps a dispatch; None chooses.
        workers: processes that gather streamed batches; 0 is a thread of this one.
    """
    device = next(iter(rules.mesh.local_devices), rules.mesh.devices.flat[0])  # a plan's are all elsewhere
    several = jax.process_count() > 1
    resident, steps, reason = _decided(
        source, spec, order, placement, capacity, -1 if several else resident_bytes(device)
    )
    if several and placement == "auto":
        reason = "auto: each process reads its share"
    if workers:
        reason += "; data_workers are not needed" if resident else f"; {workers} worker process" + "es" * (workers > 1)
    if resident:
        return Resident.of(source, order, rules, steps), reason
    return Streamed(source, spec, order, rules, steps, workers), reason


@dataclass(frozen=True)
class Foreseen:
    """What `choose` would give on hardware that need not be there: a feed as shapes, and how many are alive at once."""

    feed: Feed
    capacity: int
    feeds: int
    reason: str


def foreseen(
    source: Source, spec: Spec, order: Order, rules: Rules, *, placement: str, capacity: int | None, room: int
) -> Foreseen:
    """The placement that `choose` would come to where training sets of up to `room` bytes stay on the device."""
    resident, steps, reason = _decided(source, spec, order, placement, capacity, room)
    if not resident:
        made = Streamed(source, spec, order, rules, steps)
        return Foreseen(made.abstract(), steps, QUEUED + 2, reason)  # queued, one being made, and the one in use
    arrays = {
        name: jax.ShapeDtypeStruct((len(source), *field.shape), field.dtype, sharding=rules.sharding())
        for name, field in spec.fields.items()
    }
    indices = jax.ShapeDtypeStruct((steps, order.batch_size), jnp.int32, sharding=rules.sharding((None, "batch")))
    return Foreseen((arrays, indices), steps, 1, reason)


def _decided(
    source: Source, spec: Spec, order: Order, placement: str, capacity: int | None, room: int
) -> tuple[bool, int, str]:
    """Whether the set stays on the device, the steps of a dispatch, and why."""
    size = len(source) * spec.example_bytes
    resident = placement == "resident" or (placement == "auto" and size <= room)
    reason = f"{size / 1e6:,.1f} MB, {'fits' if size <= room else 'over'} {room >> 20:,} MiB"
    reason = reason if placement == "auto" else f"placement={placement}"
    if resident:
        return True, capacity or steps_that_fit(STEPS, INDEX_BYTES, 4 * order.batch_size), reason
    return False, capacity or steps_that_fit(STREAMED_STEPS, CHUNK_BYTES, spec.example_bytes * order.batch_size), reason


def steps_that_fit(steps: int, room: int, step_bytes: int) -> int:
    """Up to `steps` steps, as many as fit into so many bytes, and at least one."""
    return max(1, min(steps, room // max(1, step_bytes)))


def resident_bytes(device: jax.Device) -> int:
    """How large a training set may be to stay on this device."""
    stats = (device.memory_stats() or {}) if device.platform != "cpu" else {}
    return int(DEVICE_SHARE * stats["bytes_limit"]) if "bytes_limit" in stats else CPU_RESIDENT_BYTES
