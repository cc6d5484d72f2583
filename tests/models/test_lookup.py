"""Rows of a table: the gradient that sorts, against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.models import lookup


@pytest.mark.parametrize("tokens", [1, 128, 3001])
@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sums_equal_those_of_numpy(tokens, size, dtype):
    rng = np.random.default_rng(tokens + size)
    indices = rng.zipf(1.3, tokens) % size  # some come very often, most never
    values = jnp.asarray(rng.normal(size=(tokens, 5)), dtype)
    expected = np.zeros((size, 5))
    np.add.at(expected, indices, np.asarray(values, np.float64))
    found = jax.jit(lookup.summed, static_argnums=2)(values, jnp.asarray(indices), size)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


def test_what_is_beyond_the_table_is_left_out():
    values = jnp.ones((6, 2))
    found = lookup.summed(values, jnp.array([0, 3, -1, 2, 3, 2]), 3)
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [2, 2]])


def test_the_gradient_is_that_of_a_lookup(monkeypatch):
    table, indices = jnp.asarray(np.random.default_rng(0).normal(size=(40, 7)), jnp.float32), jnp.arange(600) % 37
    look = jnp.sin(jnp.arange(600 * 7.0)).reshape(20, 30, 7)

    def loss(rows, table):
        return jnp.sum(jnp.tanh(rows(table, indices.reshape(20, 30))) * look)

    expected = jax.grad(loss, 1)(lookup.rows, table)

    class Gpu:
        platform = "gpu"

    monkeypatch.setattr(lookup, "target", Gpu)
    found = jax.jit(jax.grad(loss, 1), static_argnums=0)(lookup.rows, table)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    jaxpr = str(jax.make_jaxpr(jax.grad(loss, 1), static_argnums=0)(lookup.rows, table))
    assert "sort" in jaxpr  # the fault above really happened
    assert "scatter-add" not in jaxpr
