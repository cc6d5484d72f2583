"""Members as one program: a vmap over slots, each of which holds the state of one member.

Each member's run goes on in a thread of its own, with its own hooks, and knows nothing of the others. Where it would
call its compiled steps it comes to a meeting instead: once every member that is training has come, one call of the
common program does as many steps as the first of them to be due somewhere allows. A member that ends, for whatever
reason, leaves its slot to the next.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from bigtrain.config.errors import RunError
from bigtrain.data.placement import Dispatch, Feed, Resident
from bigtrain.data.sampler import Order
from bigtrain.models.split import Parts
from bigtrain.train.determinism import asking_cudnn
from bigtrain.train.prepare import Prepared
from bigtrain.train.program import typed_number
from bigtrain.train.state import TrainState

MOST_STEPS = 64  # of one call: members come to the meeting often enough for a signal to be heard


@dataclass(frozen=True)
class Indices:
    """Gives each dispatch the indices of its examples: the set itself is with the common program."""

    arrays: Mapping[str, jax.Array]
    order: Order
    capacity: int

    def abstract(self) -> Feed:
        """A feed as shapes; the common program has its own."""
        return jax.ShapeDtypeStruct((self.capacity, self.order.batch_size), jnp.int32)

    def feeds(self, dispatches: Iterable[Dispatch]) -> Iterator[tuple[Dispatch, Feed]]:
        """See `Placement`."""
        for dispatch in dispatches:
            yield dispatch, self.order.batches(dispatch.step, dispatch.number)


class Held:
    """The state of one slot, read when it is asked for; to be used until its member trains on."""

    def __init__(self, slots: Slots, index: int) -> None:
        self._slots, self._index = slots, index
        self._read: TrainState | None = None

    def now(self) -> TrainState:
        """The state as arrays of their own."""
        if self._read is None:
            self._read = self._slots.state(self._index)
        return self._read

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now(), name)

    def evaluated(self) -> Parts:
        """See `TrainState`."""
        return self.now().evaluated()

    def as_dict(self) -> dict[str, Any]:
        """See `TrainState`."""
        return self.now().as_dict()

    def block_until_ready(self) -> Held:
        """The meeting has waited for the device already."""
        return self


@dataclass
class Request:
    """The steps that one member waits for."""

    indices: np.ndarray  # [number, B]
    done: int = 0
    parts: list[Any] = field(default_factory=list)
    error: Exception | None = None

    @property
    def left(self) -> int:
        """Steps still to do."""
        return len(self.indices) - self.done


class Slots:
    """A program of several members.

    Args:
        shared: the run of one of them, whose program is the pattern.
        number: members at once; rounded up to what the devices share evenly.
    """

    def __init__(self, shared: Prepared, number: int) -> None:
        assert isinstance(shared.placement, Resident)
        self.shared, self.program, self.placement = shared, shared.program, shared.placement
        devices = shared.rules.mesh.devices.reshape(-1)
        self.mesh = jax.sharding.Mesh(devices, ("members",), axis_types=(jax.sharding.AxisType.Auto,))
        self.number = -(-number // len(devices)) * len(devices)
        self.capacity = min(MOST_STEPS, self.placement.capacity)
        self._meeting = threading.Condition()
        self._free = list(range(number))[::-1]
        self._training: set[int] = set()
        self._requests: dict[int, Request] = {}
        self._numbers = [dict(shared.values)] * self.number
        self._sent: dict[str, jax.Array] | None = None
        self._states: Any = None
        self._advance: Any = None

    @contextmanager
    def taken(self, ready: Prepared) -> Iterator[Prepared]:
        """A slot for one member, as the run that trains in it."""
        with self._meeting:
            index = self._free.pop()
            self._training.add(index)
        executables = {
            **self.program.executables,
            "advance": partial(self.advance, index, dict(ready.values)),
            "evaluate": partial(_evaluate, self.program.executables["evaluate"]),
        }
        own = dataclasses.replace(ready.program, executables=executables)
        feeds = Indices(self.placement.arrays, ready.placement.order, self.capacity)
        run = dataclasses.replace(ready.run, steps_per_dispatch=self.capacity)
        try:
            yield dataclasses.replace(ready, run=run, program=own, placement=feeds, members=self.number)
        finally:
            with self._meeting:
                self._training.discard(index)
                self._requests.pop(index, None)
                self._free.append(index)
                self._meeting.notify_all()  # the others needn't wait for it any more

    def advance(
        self, index: int, values: dict[str, float], state: Any, feed: np.ndarray, number: Any, numbers: Any
    ) -> tuple[Held, Any]:
        """What a member calls instead of its own program; comes back when its steps are done."""
        with self._meeting:
            if not isinstance(state, Held):
                self._put(index, values, state)
            own = self._requests[index] = Request(feed)
            while own.left and own.error is None:
                if len(self._requests) == len(self._training):
                    self._together()
                else:
                    self._meeting.wait()
        if own.error is not None:
            raise own.error
        metrics = jax.tree.map(lambda *parts: np.concatenate(parts), *own.parts)
        return Held(self, index), metrics

    def seconds_a_step(self, steps: int, rounds: int = 1) -> float:
        """The time of a member's step when all slots train, the least of some; to be asked before any member comes."""
        state = self.program.init(self.program.numbers(self.shared.values))
        indices = self.placement.order.batches(0, steps)
        with self._meeting:
            for index in range(self.number):
                self._put(index, dict(self.shared.values), state)
            self._timed(indices[:1])  # the first call compiles
            return min(self._timed(indices) for _ in range(rounds)) / (steps * self.number)

    def _timed(self, indices: np.ndarray) -> float:
        """Seconds in which all slots do these steps."""
        self._requests = {index: Request(indices) for index in range(self.number)}
        begun = time.perf_counter()
        while self._requests:
            self._together()
        return time.perf_counter() - begun

    def state(self, index: int) -> TrainState:
        """The state in a slot, split over the devices as that of a run by itself."""
        with self._meeting:
            found: TrainState = self._take(self._states, index)
        return jax.device_put(found, jax.tree.map(lambda leaf: leaf.sharding, self.program.abstract))

    def _together(self) -> None:
        """One call of the common program, for all that wait; to be called with the meeting's lock."""
        number = min(self.capacity, *(request.left for request in self._requests.values()))
        indices = np.zeros((self.number, self.capacity, self.placement.order.batch_size), np.int32)
        for index, request in self._requests.items():
            indices[index, :number] = request.indices[request.done : request.done + number]
        try:
            feed = jax.device_put(indices, self._split)
            with asking_cudnn(self.program.definition.deterministic):  # the first call lowers the program
                self._states, log = self._advance(self._states, feed, np.int32(number), self._given())
            found = jax.device_get(log)  # blocks on the device
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            for request in self._requests.values():
                request.error = RunError(f"the program of {self.number} members failed: {first}")
            self._requests.clear()
            self._states = None  # its memory was given away; who comes next makes it anew
        else:
            for index, request in list(self._requests.items()):
                request.parts.append(jax.tree.map(lambda leaf, at=index: leaf[at, :number], found))
                request.done += number
                if not request.left:
                    del self._requests[index]
        self._meeting.notify_all()

    def _put(self, index: int, values: dict[str, float], state: TrainState) -> None:
        """A member's state in its slot, and its numbers beside it."""
        if self._states is None:
            self._compile(state)
        self._numbers[index], self._sent = values, None
        whole = jax.device_put(state, NamedSharding(self.mesh, PartitionSpec()))
        self._states = self._set(self._states, whole, index)

    def _given(self) -> dict[str, jax.Array]:
        """The numbers of all slots on the devices."""
        if self._sent is None:
            stacked = {
                name: np.stack([typed_number(name, values[name]) for values in self._numbers])
                for name in self.shared.values
            }
            self._sent = {name: jax.device_put(values, self._split) for name, values in stacked.items()}
        return self._sent

    def _compile(self, like: TrainState) -> None:
        """The common program, from the definition of a member's; its slots are split over all devices."""
        made, recipe = self.program.definition, self.program.recipe
        self._split = split = NamedSharding(self.mesh, PartitionSpec("members"))
        whole = NamedSharding(self.mesh, PartitionSpec())
        arrays = {name: jax.device_put(array, whole) for name, array in self.placement.arrays.items()}

        def one(arrays: Any, state: TrainState, indices: jax.Array, number: jax.Array, numbers: Any) -> Any:
            return made.advance(recipe, self.capacity, state, (arrays, indices), number, numbers)

        several = jax.vmap(one, in_axes=(None, 0, 0, None, 0))

        options = dict(self.program.options)
        jitted = jax.jit(several, donate_argnums=1, out_shardings=(split, split), compiler_options=options)
        self._advance = partial(jitted, arrays)
        self._set = jax.jit(
            lambda states, state, at: jax.tree.map(lambda a, b: a.at[at].set(b), states, state),
            donate_argnums=0, out_shardings=split,
        )  # fmt: skip
        self._take = jax.jit(lambda states, at: jax.tree.map(lambda a: a[at], states), out_shardings=whole)
        blank = jax.jit(
            lambda: jax.tree.map(lambda leaf: jnp.zeros((self.number, *leaf.shape), leaf.dtype), like_shapes),
            out_shardings=split,
        )
        like_shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
        self._states = blank()


def _evaluate(executable: Any, state: Any, *rest: Any) -> Any:
    return executable(state.now() if isinstance(state, Held) else state, *rest)
