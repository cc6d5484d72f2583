"""Where the data lives: both placements give the same batches, and the thread that works ahead behaves."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.cli.fit import understood
from bigtrain.config.schema import MeshConfig
from bigtrain.data.ahead import ahead
from bigtrain.data.arrays import Arrays, Mapped
from bigtrain.data.load import load_data
from bigtrain.data.memory import ALIGNMENT
from bigtrain.data.placement import (
    CPU_RESIDENT_BYTES,
    Dispatch,
    Resident,
    Streamed,
    choose,
    prepare,
    resident_bytes,
    steps_that_fit,
    take,
    whole,
)
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Field, Spec
from bigtrain.parallel.arrays import put
from bigtrain.parallel.mesh import make
from bigtrain.parallel.rules import Rules

N, B, CAPACITY = 50, 8, 4
RANDOM = np.random.default_rng(0)
FIELDS = {
    "inputs": Field((3, 2), "uint8", "features", scale=1 / 255),
    "targets": Field((), "int32", "label"),
    "weights": Field((), "float32", "real"),
}
SPEC = Spec("made up", FIELDS, {"train": N}, ("a", "b"))
COLUMNS = {
    "inputs": RANDOM.integers(0, 256, (N, 3, 2)).astype(np.uint8),
    "targets": np.arange(N, dtype=np.int32),
    "weights": RANDOM.normal(size=N).astype(np.float32),
}
SOURCE = Arrays(COLUMNS)
ORDER = Order(N, B, seed=3)
DISPATCHES = [Dispatch(0, 1), Dispatch(1, 2), Dispatch(3, 4), Dispatch(7, 3), Dispatch(1000, 4)]


def rules(devices=1):
    return Rules.of(make(cfg := MeshConfig(data=devices)), cfg)


def placements(devices=1):
    resident = Resident.of(SOURCE, ORDER, rules(devices), CAPACITY)
    return resident, Streamed(SOURCE, SPEC, ORDER, rules(devices), CAPACITY)


@pytest.mark.parametrize("devices", [1, 8])
def test_resident_and_streamed_give_the_same_bits_in_the_same_order(devices):
    batch_of = jax.jit(lambda feed, at: prepare(SPEC, take(feed, at)))
    both = zip(*(placement.feeds(DISPATCHES) for placement in placements(devices)), strict=True)
    seen = 0
    for (ours, resident), (theirs, streamed) in both:
        assert ours == theirs
        for at in range(ours.number):
            one, other = batch_of(resident, at), batch_of(streamed, at)
            expected = SOURCE[ORDER.batches(ours.step + at, 1)[0]]
            assert one.keys() == other.keys() == expected.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
                scaled = expected[name].astype(np.float32) * np.float32(1 / 255) if name == "inputs" else expected[name]
                np.testing.assert_array_equal(one[name], scaled)
            assert (one["inputs"].dtype, one["targets"].dtype) == (jnp.float32, jnp.int32)
            seen += 1
    assert seen == 14


@pytest.mark.parametrize("devices", [1, 8])
def test_the_shapes_known_before_are_those_that_arrive(devices):
    for placement in placements(devices):
        _, feed = next(iter(placement.feeds(DISPATCHES)))
        for found, promised in zip(jax.tree.leaves(feed), jax.tree.leaves(placement.abstract()), strict=True):
            assert (found.shape, found.dtype) == (promised.shape, promised.dtype)
            assert found.sharding.is_equivalent_to(promised.sharding, found.ndim)


def test_the_steps_of_a_feed_do_not_depend_on_how_the_run_is_cut_into_dispatches():
    _, streamed = placements()
    whole = streamed.gathered(Dispatch(5, 4))
    for at in range(4):
        single = streamed.gathered(Dispatch(5 + at, 1))
        for name in FIELDS:
            np.testing.assert_array_equal(single[name][0], whole[name][at])
            np.testing.assert_array_equal(single[name][1:], 0)


@pytest.mark.parametrize(
    ("placement", "examples", "kind", "reason"),
    [
        ("auto", N, Resident, "0.0 MB, fits 512 MiB"),
        ("auto", 1 + CPU_RESIDENT_BYTES // SPEC.example_bytes, Streamed, "536.9 MB, over 512 MiB"),
        ("stream", N, Streamed, "placement=stream"),
        ("resident", N, Resident, "placement=resident"),
    ],
)
def test_what_fits_stays_on_the_device_unless_the_config_says_otherwise(placement, examples, kind, reason):
    class Claimed(Arrays):
        def __len__(self):
            return examples

    source = Claimed(COLUMNS) if kind is Streamed else SOURCE
    made, why = choose(source, SPEC, Order(examples, B, 0), rules(), placement=placement, capacity=None)
    assert (type(made), why, made.capacity) == (kind, reason, {Resident: 4096, Streamed: 64}[kind])


def test_an_accelerator_gives_a_quarter_of_its_memory_and_a_silent_one_what_a_cpu_does():
    class Device:
        platform = "gpu"

        def __init__(self, stats):
            self.memory_stats = lambda: stats

    assert resident_bytes(Device({"bytes_limit": 80 << 30})) == 20 << 30
    assert resident_bytes(Device(None)) == resident_bytes(Device({})) == resident_bytes(jax.devices()[0]) == 512 << 20


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "bigtrain-data"]


def gone(seconds=5.0):
    """Whether every data thread ends within a while."""
    until = time.monotonic() + seconds
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not threads()


def test_items_come_in_order_and_the_thread_ends_with_them():
    assert list(ahead(iter(range(100)), 3)) == list(range(100))
    assert list(ahead(iter([]), 1)) == []
    assert list(ahead(iter([None, False, 0]), 1)) == [None, False, 0]
    assert gone()


def test_at_most_the_room_is_prepared_before_it_is_asked_for():
    made = []
    items = ahead((made.append(item) or item for item in range(50)), 2)
    assert not made, "nothing is read before the first item is asked for"
    assert next(items) == 0
    time.sleep(0.3)
    assert len(made) <= 4  # the one taken, two waiting, and one in hand
    items.close()
    assert gone()


def test_an_error_comes_where_its_item_would_and_ends_the_thread():
    def broken():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    items = ahead(broken(), 5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)
    assert gone()


@pytest.mark.parametrize("room", [1, 3])
def test_closing_early_stops_the_thread(room):
    items = ahead(iter(range(10**9)), room)
    assert next(items) == 0
    assert threads()
    items.close()
    assert gone()


def test_an_error_of_the_consumer_stops_the_thread():
    def consume():
        for item in ahead(iter(range(10**9)), 2):
            1 / item

    with pytest.raises(ZeroDivisionError):
        consume()
    assert gone()


def test_a_resident_set_is_taken_by_a_cpu_without_a_second_copy():
    part = SOURCE.subset(np.arange(N - 1))
    for name, values in whole(part).items():
        np.testing.assert_array_equal(values, part[np.arange(N - 1)][name])
        assert values.ctypes.data % ALIGNMENT == 0
        assert jax.device_put(values, jax.devices()[0]).unsafe_buffer_pointer() == values.ctypes.data


def test_the_order_of_a_dispatch_is_there_at_once(monkeypatch):
    """A copy of a quarter of a megabyte is made by another thread, and the call that waits for it is computed there."""
    given = []
    monkeypatch.setattr("bigtrain.data.placement.put", lambda a, sharding: given.append(a) or put(a, sharding))
    capacity = 8192
    resident = Resident.of(SOURCE, ORDER, rules(), capacity)
    for dispatch, (_, indices) in resident.feeds(DISPATCHES):
        assert indices.is_ready()
        assert indices.unsafe_buffer_pointer() == given[-1].ctypes.data
        np.testing.assert_array_equal(indices[: dispatch.number], ORDER.batches(dispatch.step, dispatch.number))
        np.testing.assert_array_equal(indices[dispatch.number :], 0)


def test_columns_in_memory_are_taken_as_they_are_and_mapped_ones_are_read(tmp_path):
    assert all(values is SOURCE.columns[name] for name, values in whole(SOURCE).items())
    np.save(tmp_path / "x.npy", COLUMNS["inputs"])
    mapped = Arrays({"inputs": Mapped(np.load(tmp_path / "x.npy", mmap_mode="r"))})
    found = whole(mapped)["inputs"]
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, COLUMNS["inputs"])


def test_a_set_read_from_a_file_is_in_memory_once(tmp_path):
    for name, array in {"x_train": COLUMNS["inputs"], "y_train": np.arange(len(COLUMNS["inputs"]))}.items():
        np.save(tmp_path / f"{name}.npy", array)
        np.save(tmp_path / f"{name.replace('train', 'val')}.npy", array[:2])
        np.save(tmp_path / f"{name.replace('train', 'test')}.npy", array[:2])
    _, checked, trusted = understood(
        ["data=npz", f"data.path={tmp_path}", "data.target_kind=real", "batch_size=8", "run_dir=r"], None, []
    )
    source = load_data(checked, trusted).splits["train"]
    placed = jax.device_put(whole(source)["inputs"], rules().sharding())
    assert placed.unsafe_buffer_pointer() == source.columns["inputs"].ctypes.data


@pytest.mark.parametrize(("steps", "room", "each", "expected"), [(64, 100, 10, 10), (4, 100, 10, 4), (4, 5, 10, 1)])
def test_the_most_steps_of_a_dispatch(steps, room, each, expected):
    assert steps_that_fit(steps, room, each) == expected
