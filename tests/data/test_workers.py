"""Worker processes: the same batches as without, from any step on, and what happens when one is killed."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest
from files import arrays_of
from grain._src.python.dataset.transformations import process_prefetch
from processes import wait_for

from bigtrain.config.errors import DataError, InputError, RunError
from bigtrain.config.schema import MeshConfig
from bigtrain.data import placement
from bigtrain.data.placement import Dispatch, Streamed, choose
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Field, Spec
from bigtrain.data.workers import Batches, Packed, batches, steps_of
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
    parts = [
        Batches(SOURCE, ORDER, rows=np.arange(process * size, (process + 1) * size)) for process in range(processes)
    ]
    for step in (0, 5, 6, 1000):  # an epoch ends within step 6
        whole = SOURCE[ORDER.batches(step, 1)[0]]
        found = [part[step].arrays for part in parts]
        assert equal({name: np.concatenate([one[name] for one in found]) for name in whole}, whole)


def rules() -> Rules:
    return Rules.of(make(cfg := MeshConfig(data=1)), cfg)


def test_a_streamed_set_takes_its_batches_from_workers_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def here(source: object, order: Order, *, start: int, workers: int, batch_bytes: int, rows: object) -> object:
        assert (batch_bytes, rows) == (8 * (12 + 4), None)
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


@pytest.mark.parametrize(
    ("batch_bytes", "seconds", "steps"),
    [(1, 0, 32), (401_408, 1e-4, 5), (1 << 20, 0, 2), (1 << 30, 0, 1), (1, 0.01, 5), (1, 0.02, 2), (1, 3.0, 1)],
)
def test_batches_that_are_small_and_quickly_read_travel_together(batch_bytes: int, seconds: float, steps: int) -> None:
    assert steps_of(batch_bytes, seconds) == steps


BAD = next(step for step in range(100) if 13 in ORDER.batches(step, 1)[0])
"""The first step that reads example 13."""


@pytest.mark.parametrize(
    ("problem", "kind", "answer"),
    [
        ("is no picture", InputError, "x.png: is no picture\n  remove it"),
        ("", RunError, "data_workers: a worker failed: KeyError: 'a bug'"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_what_cannot_be_read_keeps_no_step_before_it_back(
    before: int, problem: str, kind: type[Exception], answer: str
) -> None:
    packed = Batches(Failing(problem), ORDER, start=BAD - before, steps=4)[0].batches()
    for step in range(BAD - before, BAD):
        assert equal(next(packed), SOURCE[ORDER.batches(step, 1)[0]])
    with pytest.raises(kind) as raised:
        next(packed)
    assert str(raised.value) == answer


def test_steps_together_are_the_steps() -> None:
    """Also the share of one process of several, and from any step on."""
    for rows in (None, np.array([1, 5])):
        packed = Batches(SOURCE, ORDER, start=3, steps=5, rows=rows)[2].batches()
        for step in range(13, 18):
            chosen = ORDER.batches(step, 1)[0]
            assert equal(next(packed), SOURCE[chosen if rows is None else chosen[rows]])


@pytest.mark.slow
def test_fields_without_numbers_come_in_batches_too() -> None:
    packed = Packed({"inputs": np.arange(12).reshape(6, 2), "nothing": np.zeros((6, 0))}, 3)
    assert [batch["nothing"].shape for batch in packed.batches()] == [(2, 0)] * 3
    np.testing.assert_array_equal([batch["inputs"] for batch in packed.batches()], np.arange(12).reshape(3, 2, 2))


def test_two_real_workers() -> None:
    """Each batch is the one of its step; a killed worker and an example that can't be read are told in one line."""
    reading = batches(SOURCE, ORDER, start=995, workers=2, batch_bytes=1)
    for step in range(995, 1005):
        assert equal(next(reading), SOURCE[ORDER.batches(step, 1)[0]])
    assert next(reading) is not None  # the first one was read before there were any
    victims = multiprocessing.active_children()
    assert len(victims) == 2
    os.kill(victims[0].pid, signal.SIGINT)  # as Ctrl-C does to all processes of a terminal: it is not theirs to answer
    for step in range(1006, 1080):
        assert equal(next(reading), SOURCE[ORDER.batches(step, 1)[0]])
    os.kill(victims[0].pid, signal.SIGKILL)
    with pytest.raises(RunError) as raised:
        collections.deque(itertools.islice(reading, 500), 0)
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
def test_workers_end_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were killed after 25 seconds, in which the end of a run waited for them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reading = batches(Large(), ORDER, start=0, workers=2, batch_bytes=1 << 20)
    assert all(batch["inputs"].shape == (8, 100_000) for batch in itertools.islice(reading, 5))
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    reading.close()
    for worker in workers:
        worker.join(10)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Hanging:
    """A source whose storage doesn't answer for one example; it makes a file as it is asked for that."""

    asked: Path

    def __len__(self) -> int:
        return 50

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        if 13 in indices:
            self.asked.touch()
            time.sleep(60)
        return SOURCE[indices]


@pytest.mark.slow
def test_a_worker_that_hangs_ends_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `ahead` loses patience, and before Grain kills it (-9)."""
    temporary, asked = tmp_path / "temporary", tmp_path / "asked"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    reading = batches(Hanging(asked), ORDER, start=BAD - 2, workers=1, batch_bytes=1 << 30)
    assert len(list(itertools.islice(reading, 2))) == 2
    [worker] = multiprocessing.active_children()
    wait_for(asked.exists)
    reading.close()
    assert worker.exitcode == 1
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_without_a_place_for_a_signal_workers_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(process_prefetch, "_PROCESS_KILL_TIMEOUT_S", 0.1)
    reading = batches(SOURCE, ORDER, start=0, workers=1, batch_bytes=1)
    assert len(list(itertools.islice(reading, 2))) == 2
    reading.close()
    assert gone()


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
        collections.deque(batches(Failing(problem), ORDER, start=BAD - 2, workers=1, batch_bytes=1), 0)
    assert str(raised.value) == answer
    assert gone()
