"""Whether every number is finite, of arrays of any size: XLA's own maximum of a large one doesn't tell."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bigtrain.metrics import Mean
from bigtrain.train.finite import guarded, is_finite
from bigtrain.train.state import TrainState

SHAPES = [(), (1,), (75,), (32, 32), (128, 32), (4096,), (4097,), (3, 5, 7, 64), (1000, 1000)]
WRONG = [float("nan"), -float("nan"), float("inf"), -float("inf")]


def with_one(shape: tuple[int, ...], dtype: str, value: float, at: int | None) -> jax.Array:
    """The largest numbers that there are, whose sum is none, and at one place, or everywhere, another."""
    array = np.full(shape, float(jnp.finfo(dtype).max), np.float32)
    array.reshape(-1)[slice(None) if at is None else at] = value
    return jnp.asarray(array).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_number_that_is_none_is_found_wherever_it_is(shape: tuple[int, ...], dtype: str) -> None:
    fine = jnp.full(shape, jnp.finfo(dtype).max, dtype)
    assert is_finite({"a": fine, "count": jnp.ones(shape, jnp.int32)})
    for value in WRONG:
        for at in (0, -1, None):
            assert not is_finite({"a": fine, "b": with_one(shape, dtype, value, at)}), (value, at)


def test_arrays_without_numbers_are_finite() -> None:
    assert is_finite({"empty": jnp.zeros((0, 3)), "key": jax.random.key(0)})
    assert is_finite({})


@pytest.mark.parametrize("value", WRONG)
def test_also_in_the_part_of_another_device(value: float) -> None:
    split = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec("data"))
    array = with_one((65_536,), "float32", value, -5)
    assert not is_finite([jax.device_put(array, split)])


@pytest.mark.parametrize("value", WRONG)
def test_a_step_is_left_out_whose_update_alone_is_not_finite(value: float) -> None:
    """Inside a compiled step, where the check is part of a larger computation."""

    @jax.jit
    def step(params: jax.Array, update: jax.Array) -> tuple[TrainState, dict[str, Mean]]:
        before = TrainState(jnp.int32(0), {"w": params}, {}, {}, {})
        after = TrainState(jnp.int32(1), {"w": params + update}, {}, {}, {})
        return guarded(before, after, {"loss": Mean(jnp.ones(()), jnp.ones(()))}, nonfinite=True, spikes=None)

    params = jax.random.normal(jax.random.key(0), (500, 500))
    for update, skipped in ((jnp.ones_like(params), 0), (jnp.zeros_like(params).at[250, 7].set(value), 1)):
        state, metrics = step(params, update)
        assert metrics["skipped"].total == skipped
        np.testing.assert_array_equal(state.params["w"], params if skipped else params + update)
