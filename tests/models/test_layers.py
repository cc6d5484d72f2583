"""Dropout: how much, when, and as a number that the compiled program takes as an argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart

from bigtrain.data.spec import Field, Spec
from bigtrain.models.layers import Dropout, Hyperparameter
from bigtrain.models.mlp import MLP
from bigtrain.models.split import split

N = 40_000
KEY = jax.random.key(7)


def merged(rate, given, training=True):
    recipe, parts = split(Dropout(rate, rngs=nnx.Rngs(0)))
    return recipe.merge(parts, {"dropout": given}, KEY, training=training)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_dropped_is_the_rate_and_the_mean_is_kept(rate):
    values = jnp.full(N, 3.0)
    dropped = np.asarray(merged(0.5, rate)(values))
    share = (dropped == 0).mean()
    assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / N)
    np.testing.assert_allclose(dropped[dropped != 0], 3.0 / (1 - rate), rtol=1e-6)
    assert abs(dropped.mean() - 3.0) < 4 * 3.0 * np.sqrt(rate / (1 - rate) / N)


def test_a_rate_of_zero_draws_no_random_numbers():
    values = jnp.arange(8.0)
    model = merged(0.0, 0.0)
    assert model(values) is values
    text = str(jax.make_jaxpr(lambda key, values: _with_key(0.0, key)(values))(KEY, values))
    assert "random_bits" not in text
    assert "random_bits" in str(jax.make_jaxpr(lambda key, values: _with_key(0.5, key)(values))(KEY, values))


def _with_key(rate, key):
    recipe, parts = split(Dropout(rate, rngs=nnx.Rngs(0)))
    return recipe.merge(parts, {"dropout": rate}, key, training=True)


def test_evaluation_is_the_identity():
    values = jnp.arange(8.0)
    assert merged(0.5, 0.5, training=False)(values) is values


def test_each_call_drops_others():
    model, values = merged(0.5, 0.5), jnp.ones(200)
    assert (model(values) != model(values)).any()


def test_another_rate_runs_the_same_executable():
    data = Spec(
        "made up",
        {"inputs": Field((6,), "float32", "features"), "targets": Field((), "int32", "label")},
        {"train": 8},
        ("a", "b"),
    )
    recipe, parts = apart(lambda: MLP(data, widths=(2000,), dropout=0.5, rngs=nnx.Rngs(0)))
    traces = []

    @jax.jit
    def share_dropped(params, numbers):
        traces.append(1)
        model = recipe.merge(type(parts)(params, parts.rest), numbers, KEY, training=True)
        hidden = []
        model.output = lambda values: hidden.append(values) or values
        model.activation = "sigmoid"  # never exactly zero by itself
        model(jnp.ones((4, 6)))
        return jnp.mean(hidden[0] == 0)

    for rate in (0.1, 0.5, 0.9):
        assert abs(float(share_dropped(parts.params, {"dropout": rate})) - rate) < 4 * np.sqrt(rate * (1 - rate) / 8000)
    assert len(traces) == 1
    rates = jnp.asarray([0.2, 0.7])
    found = jax.vmap(lambda rate: share_dropped(parts.params, {"dropout": rate}))(rates)
    np.testing.assert_allclose(found, rates, atol=0.03)


def test_a_bfloat16_value_stays_one():
    assert merged(0.5, 0.25)(jnp.ones(4, jnp.bfloat16)).dtype == jnp.bfloat16


def test_a_hyperparameter_knows_its_field():
    made = Hyperparameter.of(2, "beta")
    assert (made.field, made[...].dtype, float(made[...])) == ("beta", jnp.float32, 2.0)
