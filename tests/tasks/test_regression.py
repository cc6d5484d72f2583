"""Squared and absolute errors against NumPy, for targets of every shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.data.spec import Field, Spec
from bigtrain.tasks.regression import Regression

B, T = 4, 3
RANDOM = np.random.default_rng(0)
STEPS = {"inputs": jnp.zeros((B, T), jnp.int32)}
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((B, 1), (B,)), ((B, 2), (B, 2)), ((B, 6), (B, 2, 3)), ((B, T, 1), (B, T)), ((B, T, 2), (B, T, 2))],
)
def test_the_loss_is_the_squared_error_averaged_over_the_numbers_of_a_target(outputs, targets):
    found, wanted = RANDOM.normal(size=outputs), RANDOM.normal(size=targets)
    batch = {
        **STEPS,
        "targets": jnp.asarray(wanted),
        "weights": jnp.asarray([1.0, 0.0, 2.0, 1.0]),
    }
    losses, weights, metrics = Regression().elements(lambda inputs: jnp.asarray(found), batch, KEY)
    difference = found.reshape(B, -1) - wanted.reshape(B, -1)
    np.testing.assert_allclose(losses, (difference**2).mean(1), rtol=1e-5)
    np.testing.assert_array_equal(weights, batch["weights"])
    error = metrics["mean_absolute_error"]
    np.testing.assert_allclose(error.total / error.weight, np.abs(difference).mean(1) @ batch["weights"] / 4, rtol=1e-5)


def test_steps_beyond_the_length_do_not_count():
    found, wanted = RANDOM.normal(size=(B, T, 2)), RANDOM.normal(size=(B, T, 2))
    lengths = np.array([3, 1, 2, 1])
    batch = {**STEPS, "targets": jnp.asarray(wanted), "lengths": jnp.asarray(lengths)}
    losses, weights, metrics = Regression().elements(lambda inputs, lengths: jnp.asarray(found), batch, KEY)
    valid = np.arange(T) < lengths[:, None]
    mean = jnp.sum(losses * weights) / jnp.sum(weights)
    np.testing.assert_allclose(mean, ((found - wanted) ** 2)[valid].mean(), rtol=1e-5)
    error = metrics["mean_absolute_error"]
    np.testing.assert_allclose(error.total / error.weight, np.abs(found - wanted)[valid].mean(), rtol=1e-5)


def test_one_target_of_a_padded_sequence_counts_once():
    batch = {**STEPS, "targets": jnp.ones((B, 2)), "lengths": jnp.asarray([1, 2, 3, 1])}
    losses, weights, _ = Regression().elements(lambda inputs, lengths: jnp.zeros((B, 2)), batch, KEY)
    np.testing.assert_array_equal(losses, np.ones(B))
    np.testing.assert_array_equal(weights, np.ones(B))


def test_scaled_targets_are_learnt_without_their_unit_and_reported_in_it():
    """The targets of a batch are in units; the outputs and the loss are deviations from the mean."""
    field = Field((), "float32", "real", scale=50.0, shift=1000.0)
    task = Regression(Spec("prices", {"inputs": Field((T,), "float32", "features"), "targets": field}, {}))
    found, wanted = RANDOM.normal(size=(B, 1)), RANDOM.normal(size=B)
    batch = {**STEPS, "targets": jnp.asarray(wanted * 50 + 1000), "weights": jnp.asarray([1.0, 0.0, 2.0, 1.0])}
    losses, _, metrics = task.elements(lambda inputs: jnp.asarray(found), batch, KEY)
    difference = found[:, 0] - wanted
    np.testing.assert_allclose(losses, difference**2, rtol=1e-3, atol=1e-5)
    absolute, squared = metrics["mean_absolute_error"], metrics["root_mean_squared_error"]
    np.testing.assert_allclose(
        absolute.total / absolute.weight, 50 * np.abs(difference) @ batch["weights"] / 4, rtol=1e-4
    )
    assert squared.root
    np.testing.assert_allclose(squared.total / squared.weight, 2500 * difference**2 @ batch["weights"] / 4, rtol=1e-4)
    predicted = task.predict(lambda inputs: jnp.asarray(found), batch)["prediction"]
    np.testing.assert_allclose(predicted, found[:, 0] * 50 + 1000, rtol=1e-6)
