"""One update of the training state, and the moving average of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bigtrain.train.state import TrainState
from bigtrain.train.step import cast, update

KEY = jax.random.key(0)


def started(ema):
    params = {"kernel": jnp.asarray([[1.0, -2.0]]), "bias": jnp.asarray([0.5])}
    rule = optax.sgd(0.1)
    average = dict(params) if ema else {}
    return TrainState(jnp.zeros((), jnp.int32), params, {"count": jnp.zeros(())}, rule.init(params), average), rule


def gradient(params, rest, batch, key):
    """Of the loss 0.5 * |params|^2 * batch."""
    return jax.tree.map(lambda leaf: leaf * batch["scale"], params), {"count": rest["count"] + 1}, {}


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_moving_average_equals_the_closed_form(decay):
    state, rule = started(True)
    trail, number = [dict(state.params)], 6
    for _ in range(number):
        state, _ = update(state, gradient, rule, {"scale": 0.5}, KEY, jnp.float32(decay))
        trail.append(dict(state.params))
    for name, value in state.ema.items():
        expected = decay**number * trail[0][name]
        for at in range(1, number + 1):
            expected = expected + (1 - decay) * decay ** (number - at) * trail[at][name]
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(state.params[name], trail[0][name] * 0.95**number, rtol=1e-6)
    assert (int(state.step), float(state.rest["count"])) == (number, number)
    assert state.evaluated().params is state.ema


def test_without_a_moving_average_the_parameters_are_evaluated():
    state, rule = started(False)
    state, _ = update(state, gradient, rule, {"scale": 0.5}, KEY, None)
    assert state.ema == {}
    assert state.evaluated().params is state.params


def test_a_state_survives_the_way_through_its_dict():
    state, _ = started(True)
    again = TrainState(**state.as_dict())
    jax.tree.map(np.testing.assert_array_equal, again, state)


def test_a_cast_changes_floats_only_and_its_gradient_comes_back_in_float32():
    values = {"kernel": jnp.asarray([1.0, 1 / 3]), "index": jnp.asarray([1, 2])}
    found = cast(values, jnp.dtype("bfloat16"))
    assert (found["kernel"].dtype, found["index"].dtype) == (jnp.bfloat16, jnp.int32)
    assert cast(values, jnp.dtype("float32"))["kernel"] is values["kernel"]

    def loss(kernel):
        return jnp.sum(cast({"kernel": kernel}, jnp.dtype("bfloat16"))["kernel"] ** 2).astype(jnp.float32)

    grads = jax.grad(loss)(values["kernel"])
    assert grads.dtype == jnp.float32
    np.testing.assert_allclose(grads, 2 * values["kernel"], rtol=0.01)
