"""Sums and weights: whatever is merged, in whatever pieces, has the mean of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.metrics import Mean


def value(mean):
    return float(mean.total / mean.weight)


@pytest.mark.parametrize("cuts", [(), (1,), (3, 4, 11), tuple(range(1, 20))])
def test_merging_pieces_of_any_size_is_the_whole(cuts):
    random = np.random.default_rng(0)
    values, weights = random.normal(size=20), random.uniform(0, 5, size=20)
    cut = zip(np.split(values, cuts), np.split(weights, cuts), strict=True)
    pieces = [Mean.of(jnp.asarray(some), jnp.asarray(theirs)) for some, theirs in cut]
    merged = pieces[0]
    for piece in pieces[1:]:
        merged = merged.merge(piece)
    np.testing.assert_allclose(value(merged), np.average(values, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(merged.weight, weights.sum(), rtol=1e-6)


def test_a_value_of_weight_zero_does_not_count():
    mean = Mean.of(jnp.asarray([1.0, 1e30, -3.0]), jnp.asarray([1.0, 0.0, 3.0]))
    assert (float(mean.total), float(mean.weight)) == (-8.0, 4.0)


def test_low_precision_is_summed_in_float32():
    mean = Mean.of(jnp.full(4096, 1.0, jnp.bfloat16), jnp.ones(4096, jnp.bfloat16))
    assert (mean.total.dtype, float(mean.total)) == (jnp.float32, 4096.0)


def test_it_is_a_pytree_that_adds_up():
    one, other = Mean(jnp.float32(1), jnp.float32(2)), Mean(jnp.float32(10), jnp.float32(20))
    assert jax.tree.map(jnp.add, one, other) == one.merge(other)
