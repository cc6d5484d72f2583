"""Which checkpoints are kept, and what comes back from them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bigtrain.checkpoint import Checkpoints, Damaged, leaves, orbax, pattern
from bigtrain.config.errors import InputError, RunError
from bigtrain.config.schema import CheckpointConfig


def state(value: float) -> dict[str, object]:
    return {"step": jnp.int32(value), "params": {"a.b": jnp.full((3, 2), value), "c": jnp.arange(4) * value}}


def saved(directory: Path, losses: dict[int, float | None], **fields: object) -> Checkpoints:
    checkpoints = Checkpoints(directory, CheckpointConfig(**fields))  # type: ignore[arg-type]
    for step, loss in losses.items():
        checkpoints.save(step, state(step), {"scores": None if loss is None else {"loss": loss, "accuracy": -loss}})
    checkpoints.close()
    return checkpoints


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"keep": 1}, [20, 40]),
        ({"keep": 2}, [20, 30, 40]),
        ({"keep": 1, "best": False}, [40]),
        ({"keep": 1, "monitor": "accuracy"}, [20, 40]),
        ({"keep": 1, "mode": "max"}, [10, 40]),
        ({"keep": 9}, [10, 20, 30, 40]),
    ],
)
def test_best_and_newest_are_kept(fields: dict[str, object], kept: list[int], tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5}, **fields)
    assert checkpoints.steps() == kept
    assert {entry.name for entry in tmp_path.iterdir()} == {f"{step:09d}" for step in kept}


def test_restored_is_saved_bit_for_bit(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {7: None})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(7))
    found = checkpoints.restore(7, abstract)
    jax.tree.map(np.testing.assert_array_equal, found, state(7))


class Moments(NamedTuple):
    """A part of an optimizer's state."""

    count: jax.Array
    mu: dict[str, jax.Array]


def several_kinds(value: float) -> dict[str, object]:
    """A state with all that a tree may have, and some dtypes."""
    w = jnp.full((3, 2), value)
    moments = Moments(jnp.int32(value), {"w": w.astype(jnp.bfloat16)})
    return {"step": jnp.uint32(7), "params": {"w": w}, "rest": {}, "opt_state": ((moments, ()), [jnp.array([True])])}


@pytest.mark.parametrize("make", [state, several_kinds])
def test_the_second_of_a_kind_is_written_without_orbax_and_restored_by_it(
    make: Callable[[float], dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pattern, "_KNOWN", {})
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(keep=2))
    checkpoints.save(1, make(1), {})
    checkpoints.wait()
    saver, checkpoints._saver = checkpoints._saver, None
    checkpoints.save(2, make(2), {})
    checkpoints.wait()
    assert checkpoints._saver is None
    checkpoints._saver = saver
    for step in (1, 2):
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), make(step))
        assert checkpoints.problem(step) is None
        found = checkpoints.restore(step, abstract)
        assert jax.tree.structure(found) == jax.tree.structure(make(step))
        jax.tree.map(np.testing.assert_array_equal, found, make(step))
        plain = ocp.StandardCheckpointer().restore(checkpoints.path(step).absolute() / "arrays")
        jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(plain), jax.tree.leaves(make(step)))
    checkpoints.close()
    described = [json.loads((checkpoints.path(step) / "arrays" / "_METADATA").read_text()) for step in (1, 2)]
    assert described[0] == described[1]


def test_a_large_state_is_left_to_orbax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "_KNOWN", {})
    monkeypatch.setattr(pattern, "MOST_BYTES", 40)
    saved(tmp_path, {1: None, 2: None})
    assert list(pattern._KNOWN.values()) == [None]
    assert pattern.known({"a": np.zeros(3)}) is None


@pytest.mark.parametrize(("least", "files"), [(2048, range(8, 64)), (1 << 20, range(1, 8))])
def test_a_large_state_is_written_file_by_file(
    least: int, files: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And restored whole, on a mesh as well."""
    monkeypatch.setattr(pattern, "MOST_BYTES", 40)
    monkeypatch.setattr(orbax, "LEAST_BYTES", least)
    values = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)  # 24 kB, not to be compressed
    tree = {"params": {"b": jnp.arange(6.0), "w": jnp.asarray(values)}}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree, {})
    checkpoints.wait()
    assert len(list((checkpoints.path(1) / "arrays" / "ocdbt.process_0" / "d").iterdir())) in files
    assert checkpoints.problem(1) is None
    split = NamedSharding(jax.make_mesh((8,), ("a",)), PartitionSpec("a"))
    for sharding in (tree["params"]["w"].sharding, split):
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
        abstract["params"]["w"] = jax.ShapeDtypeStruct(values.shape, values.dtype, sharding=sharding)
        found = checkpoints.restore(1, abstract)
        jax.tree.map(np.testing.assert_array_equal, found, tree)
        assert found["params"]["w"].sharding == sharding
    checkpoints.close()


def test_what_is_encoded_at_a_time() -> None:
    gigabyte = 1 << 30
    assert orbax.file_bytes(64 << 20) is None
    assert orbax.file_bytes(65 << 20) == orbax.file_bytes(256 << 20) == 4 << 20
    assert orbax.file_bytes(gigabyte) == 16 << 20
    assert orbax.file_bytes(100 * gigabyte) == 100 * gigabyte // 64
    assert orbax.encoded_bytes(64 << 20) == 64 << 20
    assert orbax.encoded_bytes(gigabyte) == 160 << 20


def test_the_saved_state_may_be_reused_at_once(tmp_path: Path) -> None:
    """The next step overwrites the memory that the background writer would read: it must have its own copy."""
    checkpoints = Checkpoints(tmp_path)
    advance = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    big = {"params": {"w": jnp.zeros((512, 512))}}
    for step in range(1, 6):
        checkpoints.save(step, big, {})
        for _ in range(20):
            big = advance(big)
        checkpoints.wait()
        abstract = {
            "params": {"w": jax.ShapeDtypeStruct((512, 512), jnp.float32, sharding=big["params"]["w"].sharding)}
        }
        assert float(checkpoints.restore(step, abstract)["params"]["w"].max()) == 20.0 * (step - 1)
    checkpoints.close()


def test_another_shape_is_refused(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {7: None})
    sharding = jnp.zeros(()).sharding
    abstract = {
        "step": jax.ShapeDtypeStruct((), jnp.int32, sharding=sharding),
        "params": {"a.b": jax.ShapeDtypeStruct((3, 2), jnp.float32, sharding=sharding)},
    }
    with pytest.raises(InputError, match="can't be restored"):
        checkpoints.restore(7, abstract)


def test_a_folder_without_a_manifest_is_never_used(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {7: None})
    (tmp_path / "000000009").mkdir()
    assert checkpoints.problem(7) is None
    assert checkpoints.problem(9) == f"{tmp_path}/000000009/manifest.json: is missing: this is no complete checkpoint"
    with pytest.raises(Damaged, match="is missing"):
        checkpoints.restore(9, {})


@pytest.mark.parametrize("where", ["manifest.write", "durable.write_durably", "durable.move", "leaves.describe"])
def test_a_disk_that_fails_is_one_message_and_the_old_checkpoint_stays(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space of the failed one is free again, and the next save works once there is room."""
    checkpoints = saved(tmp_path, {7: None}, best=False)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"bigtrain.checkpoint.{where}", full)
        checkpoints.save(8, state(8), {})
        with pytest.raises(RunError, match="the disk is full; earlier checkpoints are intact"):
            checkpoints.wait()
    assert [entry.name for entry in tmp_path.iterdir()] == ["000000007"]
    checkpoints.save(8, state(8), {})
    checkpoints.close()
    assert checkpoints.steps() == [8]
    assert checkpoints.problem(8) is None


def test_a_kill_while_saving_leaves_the_newest_complete_one(tmp_path: Path) -> None:
    """With keep=1 and no best: the old checkpoint goes only once the new one is complete."""
    code = (
        "import os, jax.numpy as jnp; from pathlib import Path; from bigtrain.checkpoint import Checkpoints;"
        "from bigtrain.config.schema import CheckpointConfig;"
        f"c = Checkpoints(Path({str(tmp_path)!r}), CheckpointConfig(best=False));"
        "state = {'w': jnp.zeros((2000, 2000))};"
        "c.save(10, state, {}); c.wait(); c.save(20, state, {}); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 9
    assert Checkpoints(tmp_path).steps() == [10]
    assert Checkpoints(tmp_path).problem(10) is None


def test_a_step_that_is_saved_is_never_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, {7: None})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    checkpoints.save(7, state(8), {})
    checkpoints.close()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("first_of_its_kind", [True, False])
def test_a_save_that_fails_in_the_background_keeps_the_one_before(
    first_of_its_kind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = saved(tmp_path, {7: None}, best=False)
    full = OSError(28, "No space left on device")
    if first_of_its_kind:
        monkeypatch.setattr(pattern, "_KNOWN", {})
    else:
        monkeypatch.setattr(pattern.Pattern, "write", lambda *_: (_ for _ in ()).throw(full))

    class Failing:
        def save(self, *_: object) -> None: ...

        def wait_until_finished(self) -> None:
            raise full

        def close(self) -> None: ...

    checkpoints._saver = Failing()
    checkpoints.save(8, state(8), {})
    with pytest.raises(RunError, match="the disk is full"):
        checkpoints.close()
    assert checkpoints.steps() == [7]


def test_what_a_killed_save_left_is_cleared(tmp_path: Path) -> None:
    saved(tmp_path, {7: None})
    (tmp_path / "000000009.partial" / "arrays").mkdir(parents=True)
    (tmp_path / ".trash-000000003").mkdir()
    saved(tmp_path, {10: None}, keep=5)
    assert {entry.name for entry in tmp_path.iterdir()} == {"000000007", "000000010"}


def test_every_so_many_are_kept_beside_the_newest_and_the_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(keep=2), keep_every=20)
    for step, loss in {10: 3.0, 20: 4.0, 30: 1.0, 40: 5.0, 50: 6.0, 60: 7.0, 70: 8.0}.items():
        checkpoints.save(step, state(step), {"scores": {"loss": loss}})
    checkpoints.close()
    assert checkpoints.steps() == [20, 30, 40, 60, 70]


def test_what_is_saved_is_as_it_was_then(tmp_path: Path) -> None:
    """Training goes on while it is written."""
    checkpoints, window = Checkpoints(tmp_path), {"loss": [1.0, 2.0]}
    checkpoints.save(7, state(7), {"window": window})
    window["loss"][0] = 9.0
    window.clear()
    checkpoints.close()
    assert checkpoints.meta(7)["window"] == {"loss": [1.0, 2.0]}


def test_the_hash_of_the_state_is_the_same_on_any_mesh(tmp_path: Path) -> None:
    hashes = set()
    for ways in (1, 2, 4, 8):
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:ways]), ("x",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
        values = {"w": jax.device_put(jnp.arange(48.0).reshape(8, 6), sharding), "step": jnp.int32(3)}
        checkpoints = Checkpoints(tmp_path / str(ways))
        checkpoints.save(3, values, {})
        checkpoints.close()
        hashes.add(checkpoints.meta(3)["state"]["sha256"])
        spread = {name: [*entry[:2], None] for name, entry in checkpoints.meta(3)["state"]["leaves"].items()}
        read = leaves.completed(spread, values, checkpoints.path(3) / "arrays")
        assert leaves.state_hash(read) in hashes, "as process 0 of several reads what it doesn't hold"
    assert len(hashes) == 1


def test_another_dtype_is_refused_and_not_cast(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {7: None})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(7))
    abstract["params"]["c"] = jax.ShapeDtypeStruct((4,), jnp.bfloat16, sharding=jnp.zeros(()).sharding)
    with pytest.raises(InputError) as refused:
        checkpoints.restore(7, abstract)
    assert str(refused.value) == (
        f"{tmp_path}/000000007: can't be restored: it holds another state than this run's\n"
        "  ['params']['c']: int32 [4] there, bfloat16 [4] here"
    )


def test_a_checkpoint_that_is_deleted_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training asks for the best score while a save in the background deletes what is no longer kept."""
    import shutil

    from bigtrain.checkpoint import manifest

    checkpoints, read, deleted = saved(tmp_path, {10: 0.5, 20: 0.7}, keep=2), manifest._read, []

    def deleting(folder: Path, step: int) -> object:
        found = read(folder, step)
        if step == 10:
            shutil.rmtree(folder)
            deleted.append(step)
        return found

    monkeypatch.setattr(manifest, "_read", deleting)
    assert checkpoints.improves({"loss": 0.6})
    assert deleted == [10]
