"""What each device has to hold at its fullest moment, by category, against what it can hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bigtrain.checkpoint.orbax import encoded_bytes
from bigtrain.data.placement import Foreseen
from bigtrain.train.evaluate import KEPT_BYTES
from bigtrain.train.prepare import Outline
from bigtrain.train.sharding import bytes_on_a_device
from bigtrain.train.state import TrainState

CATEGORIES = ("parameters", "optimizer", "statistics", "gradients", "activations", "temporaries", "batch", "evaluation")
"""The optimizer's includes the moving average of the parameters; `batch` is the training set where it stays on the
device; `evaluation` is what is kept of the validation set."""

_EXHAUSTED = re.compile(r"(?:Used|temporaries \(|\()\s*([\d.]+)([KMGT]?)\)?\s*(?:of|exceeds available)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Use:
    """What one executable needs on each device: its arguments, and whatever it makes beside them, in bytes."""

    arguments: int
    made: int


@dataclass(frozen=True)
class Memory:
    """The bytes on each device at the fullest moment."""

    categories: Mapping[str, int]
    during: str  # training, evaluation, initialisation or saving
    capacity: int
    of: str  # what the capacity is

    @property
    def peak(self) -> int:
        """All categories together."""
        return sum(self.categories.values())

    @property
    def missing(self) -> int:
        """Bytes that are missing; below 0, bytes that are left."""
        return self.peak - self.capacity

    @property
    def fits(self) -> bool:
        """Whether a device can hold it."""
        return self.missing <= 0


def use_of(executable: Any, platform: str) -> Use:
    """What the compiler says that an executable needs."""
    found = executable.memory_analysis()
    new = found.output_size_in_bytes - found.alias_size_in_bytes + found.temp_size_in_bytes
    if platform == "tpu":  # its temporaries are counted in the peak alone, and programs are kept in the same memory
        peak = max(found.peak_memory_in_bytes, found.argument_size_in_bytes) + found.generated_code_size_in_bytes
        new = peak - found.argument_size_in_bytes
    return Use(found.argument_size_in_bytes, int(new))


def exhausted(error: Exception) -> int | None:
    """The bytes that a program needs, from the compiler's refusal to make it; None for any other error."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return None
    found = _EXHAUSTED.search(text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else None


@dataclass(frozen=True)
class Resting:
    """What lies on a device whatever runs: the state, and data."""

    parameters: int
    optimizer: int
    statistics: int
    feed: int  # one feed of a dispatch, or the training set
    feeds: int  # how many of them at once
    chunk: int  # one chunk of evaluation
    kept: int  # of the validation set, between evaluations

    @classmethod
    def of(cls, made: Outline, state: TrainState, train: Foreseen, examples: int) -> Resting:
        """From shapes and shardings.

        Args:
            made: the run.
            state: its state, abstract.
            train: where its training set lives.
            examples: of the validation set; 0 without one.
        """
        chunk = bytes_on_a_device(made.batching.abstract())
        chunks = math.ceil(examples / (made.batching.capacity * made.batching.batch_size))
        keep = examples * made.batching.spec.example_bytes <= KEPT_BYTES
        optimizer = bytes_on_a_device(state.opt_state) + bytes_on_a_device(state.ema)
        return cls(
            bytes_on_a_device(state.params), optimizer, bytes_on_a_device((state.rest, state.step)),
            bytes_on_a_device(train.feed), train.feeds, chunk, chunks * chunk if keep else 0,
        )  # fmt: skip

    @property
    def state(self) -> int:
        """Bytes of the training state."""
        return self.parameters + self.optimizer + self.statistics


def memory(
    resting: Resting, uses: Mapping[str, Use], activations: int, capacity: int, of: str, *, saves: bool = False
) -> Memory:
    """The fullest moment of a run.

    Args:
        resting: what lies on the device.
        uses: of the executables by name: advance, init, evaluate.
        activations: what the backward pass keeps of the forward pass, estimated.
        capacity: what a device can hold.
        of: what that is.
        saves: whether checkpoints are written from the same memory, as on a CPU.
    """
    feeds = resting.feed * resting.feeds
    waiting = resting.kept if resting.kept else 2 * resting.chunk  # else one is in use, one on its way
    copy = resting.state if saves else 0  # what a save is written from is there from the first steps on
    moments = {"training": feeds + resting.kept + uses["advance"].made + resting.state + copy}
    if "evaluate" in uses:
        moments["evaluation"] = feeds + waiting + uses["evaluate"].made + resting.state + copy
    if "init" in uses:  # the state is its result
        moments["initialisation"] = feeds + uses["init"].made
    if saves:
        moments["saving"] = feeds + resting.kept + resting.state + copy + encoded_bytes(resting.state)
    during = max(moments, key=lambda name: moments[name])
    state = (resting.parameters, resting.optimizer, resting.statistics)
    if during == "initialisation":
        split = (0, 0, max(0, uses["init"].made - resting.state), feeds, 0)
    elif during == "saving":
        split = (0, 0, copy + encoded_bytes(resting.state), feeds, resting.kept)
    elif during == "evaluation":
        split = (0, 0, uses["evaluate"].made + copy, feeds, waiting)
    else:
        split = (*_split(uses["advance"].made + copy, resting.parameters, activations), feeds, resting.kept)
    return Memory(dict(zip(CATEGORIES, (*state, *split), strict=True)), during, capacity, of)


def _split(made: int, gradients: int, activations: int) -> tuple[int, int, int]:
    """What a step makes, as gradients, activations and the rest; XLA reuses memory: it may be less than their sum."""
    first = min(made, activations)
    second = min(made - first, gradients)
    return second, first, made - first - second
