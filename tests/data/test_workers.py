"""Worker processes: the same batches as without, from any step on, and what happens when one is killed."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from files import arrays_of

from bigtrain.config.errors import DataError, InputError, RunError
from bigtrain.config.schema import MeshConfig
from bigtrain.data import placement
from bigtrain.data.placement import Dispatch, Streamed, choose
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Field, Spec
from bigtrain.data.workers import Batches, batches
from bigtrain.parallel.mesh import make
from bigtrain.parallel.rules import Rules

SOURCE = arrays_of(50)
ORDER = Order(50, 8, seed=3)
SPEC = Spec(
    "made up",
    {"inputs": Field((4, 3), "uint8", "features", 1 / 255), "targets": Field((), "int32", "label")},
    {"train": 50},
    ("a", "b", "c"),
)


@dataclass(frozen=True)
class Failing:
    """A source with one example that can't be read."""

    problem: str

    def __len__(self) -> int:
        return 50

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        if 13 in indices:
            raise (DataError("x.png", self.problem, hint="remove it") if self.problem else KeyError("a bug"))
        return SOURCE[indices]


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_parts_of_all_processes_are_the_batch(processes: int) -> None:
    size = ORDER.batch_size // processes
    parts = [Batches(SOURCE, ORDER, np.arange(process * size, (process + 1) * size)) for process in range(processes)]
    for step in (0, 5, 6, 1000):  # an epoch ends within step 6
        whole = SOURCE[ORDER.batches(step, 1)[0]]
        found = [part[step].arrays for part in parts]
        assert equal({name: np.concatenate([one[name] for one in found]) for name in whole}, whole)


def rules() -> Rules:
    return Rules.of(make(cfg := MeshConfig(data=1)), cfg)


def test_a_streamed_set_takes_its_batches_from_workers_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def here(source: object, order: Order, *, start: int, workers: int) -> object:
        asked.append((start, workers))
        try:
            for step in range(start, start + 10**6):
                yield Batches(SOURCE, order)[step].arrays
        finally:
            asked.append((-1, workers))

    monkeypatch.setattr(placement, "batches", here)
    plan = [Dispatch(5, 1), Dispatch(6, 3), Dispatch(9, 2)]
    plain, working = (Streamed(SOURCE, SPEC, ORDER, rules(), 4, number).feeds(plan) for number in (0, 2))
    for (ours, one), (theirs, other) in zip(plain, working, strict=True):
        assert ours == theirs
        assert equal(jax.device_get(one), jax.device_get(other))
    assert asked == [(5, 2), (-1, 2)], "started once, at the first step, and closed"


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("stream", "placement=stream; 2 worker processes"),
        ("resident", "placement=resident; data_workers are not needed"),
    ],
)
def test_the_summary_says_what_workers_do(where: str, reason: str) -> None:
    made, why = choose(SOURCE, SPEC, ORDER, rules(), placement=where, capacity=4, workers=2)
    assert why == reason
    assert getattr(made, "workers", 0) == (2 if where == "stream" else 0)


def gone(seconds: float = 10.0) -> bool:
    """Whether every child process ends within a while."""
    until = time.monotonic() + seconds
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.05)
    return not multiprocessing.active_children()


@pytest.mark.slow
def test_two_real_workers() -> None:
    """Each batch is the one of its step; a killed worker and an example that can't be read are told in one line."""
    reading = batches(SOURCE, ORDER, start=995, workers=2)
    for step in range(995, 1005):
        assert equal(next(reading), SOURCE[ORDER.batches(step, 1)[0]])
    victims = multiprocessing.active_children()
    assert len(victims) == 2
    os.kill(victims[0].pid, signal.SIGINT)  # as Ctrl-C does to all processes of a terminal: it is not theirs to answer
    for step in range(1005, 1025):
        assert equal(next(reading), SOURCE[ORDER.batches(step, 1)[0]])
    os.kill(victims[0].pid, signal.SIGKILL)
    with pytest.raises(RunError) as raised:
        collections.deque(itertools.islice(reading, 20), 0)
    assert str(raised.value) == (
        "data_workers: a worker process ended (killed, perhaps for memory)\n"
        "  continue the run with data_workers=0, or with more memory"
    )
    assert gone()


@dataclass(frozen=True)
class Large:
    """Examples of which a batch is more than a pipe holds."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"inputs": np.zeros((len(indices), 100_000), np.uint8)}


@pytest.mark.slow
@pytest.mark.parametrize("read", [1, 5])
def test_workers_end_by_themselves(read: int) -> None:
    """They were killed after 25 seconds, in which the end of a run waited for them."""
    reading = batches(Large(), ORDER, start=0, workers=2)
    assert all(batch["inputs"].shape == (8, 100_000) for batch in itertools.islice(reading, read))
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    reading.close()
    for worker in workers:
        worker.join(10)
    assert [worker.exitcode for worker in workers] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "kind", "answer"),
    [
        ("is no picture", InputError, "x.png: is no picture\n  remove it"),
        ("", RunError, "data_workers: a worker failed: KeyError: 'a bug'"),
    ],
)
def test_an_error_in_a_worker(problem: str, kind: type[Exception], answer: str) -> None:
    with pytest.raises(kind) as raised:
        collections.deque(batches(Failing(problem), ORDER, start=0, workers=1), 0)
    assert str(raised.value) == answer
    assert gone()
