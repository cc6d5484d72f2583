"""Which checkpoints are kept, and what comes back from them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.checkpoint import Checkpoints
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
    assert {entry.name for entry in tmp_path.iterdir()} == {
        name for step in kept for name in (f"{step:09d}", f"{step:09d}.json")
    }


def test_restored_is_saved_bit_for_bit(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {7: None})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(7))
    found = checkpoints.restore(7, abstract)
    jax.tree.map(np.testing.assert_array_equal, found, state(7))


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


def test_a_folder_without_its_json_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {7: None})
    (tmp_path / "000000009").mkdir()
    assert checkpoints.steps() == [7]


def test_a_disk_that_fails_is_one_message_and_the_old_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = saved(tmp_path, {7: None})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bigtrain.checkpoint.write_atomically", full)
    with pytest.raises(RunError, match="the disk is full; earlier checkpoints are intact"):
        checkpoints.save(8, state(8), {})
    assert checkpoints.steps() == [7]


def test_a_kill_while_saving_leaves_the_newest_complete_one(tmp_path: Path) -> None:
    """With keep=1 and no best: the old checkpoint goes only once the new one is complete."""
    code = (
        "import os, jax.numpy as jnp; from pathlib import Path; from bigtrain.checkpoint import Checkpoints;"
        "from bigtrain.config.schema import CheckpointConfig;"
        f"c = Checkpoints(Path({str(tmp_path)!r}), CheckpointConfig(best=False));"
        "state = {'w': jnp.zeros((2000, 1000))};"
        "c.save(10, state, {}); c.wait(); c.save(20, state, {}); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 9
    assert Checkpoints(tmp_path).steps() in ([10], [10, 20])


def test_a_step_that_is_saved_is_never_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, {7: None})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    checkpoints.save(7, state(8), {})
    checkpoints.close()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_save_that_fails_in_the_background_keeps_the_one_before(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {7: None}, best=False)

    class Failing:
        def save(self, *_: object) -> None: ...

        def wait_until_finished(self) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    checkpoints._saver = Failing()
    with pytest.raises(RunError, match="the disk is full"):
        checkpoints.save(8, state(8), {})
    with pytest.raises(RunError, match="the disk is full"):
        checkpoints.close()
    assert checkpoints.steps() == [7]


def test_what_a_killed_save_left_is_cleared(tmp_path: Path) -> None:
    saved(tmp_path, {7: None})
    (tmp_path / "000000009.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "000000009.json").write_text("{}")
    (tmp_path / ".trash-3").mkdir()
    saved(tmp_path, {10: None}, keep=5)
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"000000007", "000000007.json", "000000010", "000000010.json"}
