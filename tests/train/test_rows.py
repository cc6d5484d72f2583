"""The log of a dispatch's metrics: what comes out is what was written, however it lies."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.metrics import Mean
from bigtrain.train import rows
from bigtrain.train.rows import Rows


def states(step: float) -> dict[str, Mean]:
    """Of one step: two of the same kind, one of another shape, one of another type, one whose root is reported."""
    return {
        "loss": Mean(jnp.float32(step), jnp.float32(2.0)),
        "vector": Mean(jnp.full(3, step, jnp.float32), jnp.ones(3, jnp.float32)),
        "count": Mean(jnp.int32(step), jnp.int32(1)),
        "error": Mean(jnp.float32(-step), jnp.float32(4.0), root=True),
    }


@pytest.mark.parametrize(("platform", "arrays"), [("cpu", 8), ("gpu", 3)])
def test_each_step_is_what_was_written(platform: str, arrays: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "target", lambda: SimpleNamespace(platform=platform))
    layout = Rows(jax.eval_shape(lambda: states(0.0)), 5)
    log = layout.empty()
    assert len(log) == arrays
    for step in range(4):
        log = jax.jit(layout.written)(log, jnp.int32(step), states(float(step)))
    found = layout.metrics(log)
    assert jax.tree.structure(found) == jax.tree.structure(states(0.0))
    for step in range(4):
        here = jax.tree.map(lambda entries, step=step: entries[step], found)
        for own, written in zip(jax.tree.leaves(here), jax.tree.leaves(states(float(step))), strict=True):
            assert own.dtype == written.dtype
            np.testing.assert_array_equal(own, written)
    assert all(not entries[4].any() for entries in jax.tree.leaves(found)), "what no step has written is zero"
