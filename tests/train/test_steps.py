"""The loop over steps: in blocks, as on a GPU, it gives what it gives one by one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.train import steps


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5, 17, 20])
def test_blocks_do_exactly_the_steps_that_are_asked_for(number):
    def body(at, carry):
        total, key, log = carry
        return total * 1.1 + at, jax.random.fold_in(key, at), log.at[at].set(total)

    carry = (jnp.float32(1.0), jax.random.key(3), jnp.full(20, -1.0))
    run = jax.jit(steps.loop, static_argnums=(1, 2))
    found, expected = (run(jnp.int32(number), size, body, carry) for size in (4, 1))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(jax.random.key_data(found[1]), jax.random.key_data(expected[1]))
    np.testing.assert_array_equal(found[2], expected[2])
    assert (np.asarray(found[2]) == -1.0).sum() == 20 - number


class Device(NamedTuple):
    platform: str


@pytest.mark.parametrize(("platform", "width", "size"), [("cpu", 8, 1), ("gpu", 8, steps.BLOCK), ("gpu", 4096, 1)])
def test_only_small_steps_on_a_gpu_are_done_in_blocks(monkeypatch, tmp_path, platform, width, size):
    from bigtrain.cli.fit import understood
    from bigtrain.data.load import load_data
    from bigtrain.train.prepare import prepare

    _, checked, trusted = understood([f"model.widths=[{width},{width}]", "batch_size=128", "run_dir=unused"], None, [])
    ready = prepare(checked, trusted, load_data(checked, trusted))
    monkeypatch.setattr(steps, "target", lambda: Device(platform))
    assert steps.block(ready.dataset.spec, ready.program.abstract, ready.placement.abstract()) == size


def test_a_call_never_holds_more_steps_than_the_run_has():
    from support import prepared

    ready, _, _ = prepared("model.widths=[4]", "steps=20", "steps_per_dispatch=10000000000")
    assert ready.placement.capacity == 20
