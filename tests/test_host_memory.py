"""The memory that a state is copied to when it is saved: made ready before, used by every save, given back."""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import run_fit

from bigtrain.checkpoint import Checkpoints, leaves, memory
from bigtrain.checkpoint.memory import HostMemory
from bigtrain.config.schema import CheckpointConfig
from bigtrain.run.directory import RunDirectory


def state(value: float) -> dict[str, Any]:
    """Leaves of several dtypes and shapes, one of them of a megabyte."""
    params = {
        "big": jnp.full((512, 512), value),
        "half": jnp.full((3, 5), value, jnp.bfloat16),
        "none": jnp.zeros((0, 4)),
    }
    return {"step": jnp.int32(value), "params": params, "flag": jnp.array(value > 2)}


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is made for small states, too."""
    monkeypatch.setattr(memory, "LARGE", 1)


def test_devices_that_hold_the_same_share_a_copy() -> None:
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"))
    values = np.arange(32, dtype=np.float32).reshape(8, 4)
    specs = [jax.P(), jax.P("data"), jax.P("fsdp"), jax.P(("data", "fsdp"))]
    held = [jax.device_put(values, jax.NamedSharding(mesh, spec)) for spec in specs]
    assert [part.shape for part in leaves.parts(held)] == [(8, 4)] + [(4, 4)] * 2 + [(2, 4)] * 4 + [(1, 4)] * 8
    copied = leaves.beside(held, HostMemory())
    for leaf, copy in zip(held, copied, strict=True):
        assert copy.sharding == leaf.sharding
        leaf.delete()  # as training does with what it was given
        for shard in copy.addressable_shards:
            np.testing.assert_array_equal(shard.data, values[shard.index])


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts of a thread's page faults are Linux's")
def test_a_copy_to_what_is_ready_touches_no_new_page_and_it_is_given_back() -> None:
    big = {"w": jnp.ones((16 << 20,), jnp.float32)}  # 64 MB
    assert leaves.named(big)["['w']"].nbytes >= memory.LARGE
    room, before = HostMemory(), resident()
    room.prepare(big)
    room._settle()
    assert resident() - before > 60 << 20, "its pages are there"
    faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    copied = leaves.on_host(big, room)
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - faults < 200, "of 16,384 pages"
    assert copied["w"].min() == copied["w"].max() == 1  # an array of truth values would take memory of its own
    room.release()
    assert resident() - before > 60 << 20, "as long as a copy is looked at, it is there"
    del copied
    assert resident() - before < 30 << 20


@pytest.mark.usefixtures("any_size")
def test_each_copy_is_in_the_same_memory_and_is_what_was_copied() -> None:
    room = HostMemory()
    room.prepare(state(0))
    one = leaves.on_host(state(1), room)
    jax.tree.map(np.testing.assert_array_equal, one, state(1))
    two = leaves.on_host(state(3), room)
    assert all(np.shares_memory(a, b) for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True) if a.size)
    jax.tree.map(np.testing.assert_array_equal, two, state(3))
    assert [leaf.dtype for leaf in jax.tree.leaves(two)] == [leaf.dtype for leaf in jax.tree.leaves(state(3))]
    room.release()
    three = leaves.on_host(state(4), room)
    assert not np.shares_memory(three["params"]["big"], two["params"]["big"])


def test_nothing_is_made_for_a_small_state_and_another_one_gets_new_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    room, before = HostMemory(), threading.active_count()
    room.prepare(state(1))
    assert (room._arrays, threading.active_count()) == ([], before)
    one, two = (leaves.on_host(state(1), room)["params"]["big"] for _ in range(2))
    assert not np.shares_memory(one, two)
    monkeypatch.setattr(memory, "LARGE", 1)
    room.prepare({"w": jnp.zeros(3)})
    jax.tree.map(np.testing.assert_array_equal, leaves.on_host(state(2), room), state(2))


@pytest.mark.usefixtures("any_size")
def test_where_there_is_no_memory_the_copy_is_made_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **named: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    room = HostMemory()
    monkeypatch.setattr(memory.mmap, "mmap", full)
    room.prepare(state(1))
    jax.tree.map(np.testing.assert_array_equal, leaves.on_host(state(2), room), state(2))


@pytest.mark.usefixtures("any_size")
def test_a_copy_is_not_overwritten_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save waits for the one before, and both are what was saved."""
    goes_on, describe = threading.Event(), leaves.describe

    def slowly(copied: Any) -> leaves.Described:
        assert goes_on.wait(60)
        return describe(copied)

    monkeypatch.setattr(leaves, "describe", slowly)
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(keep=2))
    one, two = ({"params": {"big": jnp.full((512, 512), value)}} for value in (1.0, 2.0))
    checkpoints.expect(one)
    checkpoints.save(1, one, {})
    second = threading.Thread(target=checkpoints.save, args=(2, two, {}))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    goes_on.set()
    second.join()
    checkpoints.close()
    for step, saved in ((1, one), (2, two)):
        assert checkpoints.meta(step)["state"]["leaves"] == describe(saved)
        assert checkpoints.restore(step, jax.eval_shape(lambda: one))["params"]["big"].min() == step
    assert checkpoints._memory._arrays == []


@pytest.mark.parametrize("mesh", ["single", "fsdp"])
def test_a_run_saves_the_same_state(mesh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose state is split over devices, and one that is not; with room that was made, and without."""
    asked = []
    options = (
        "model.widths=[64]",
        "batch_size=16",
        "steps=4",
        "checkpoint.every=2",
        "checkpoint.best=false",
        "checkpoint.keep=9",
        f"mesh={mesh}",
    )
    run_fit(tmp_path / "without", *options)
    arrays = HostMemory.arrays

    def watched(self: HostMemory, leaves: Any) -> list[np.ndarray]:
        found = arrays(self, leaves)
        asked.append(found is self._arrays)
        return found

    monkeypatch.setattr(memory, "LARGE", 1)
    monkeypatch.setattr(HostMemory, "arrays", watched)
    run_fit(tmp_path / "with", *options)
    assert asked
    assert all(asked)
    ours, theirs = (Checkpoints(RunDirectory(tmp_path / name).checkpoints) for name in ("with", "without"))
    assert ours.steps() == theirs.steps() == [2, 4]
    assert [ours.meta(k)["state"] for k in ours.steps()] == [theirs.meta(k)["state"] for k in theirs.steps()]
