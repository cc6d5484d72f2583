"""Which checkpoints are kept, and what comes back from them."""

from __future__ import annotations

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
