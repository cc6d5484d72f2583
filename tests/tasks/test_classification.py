"""Cross-entropy and accuracy against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.tasks.classification import Classification
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.task import Judging

B, T, V = 5, 3, 4
RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)


def given(logits, targets, **extra):
    """A 'model' that answers with these logits, and the batch."""
    batch = {"inputs": jnp.zeros(len(targets), jnp.int32), "targets": jnp.asarray(targets), **extra}
    return (lambda inputs: jnp.asarray(logits)), batch


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(
    ("task", "shape"), [(Classification, (B,)), (Classification, (B, T)), (LanguageModeling, (B, T))]
)
def test_the_loss_is_the_cross_entropy_to_the_smoothed_target(task, shape, smoothing):
    logits, targets = RANDOM.normal(size=(*shape, V)) * 3, RANDOM.integers(0, V, shape)
    losses, weights, _ = task(label_smoothing=smoothing).elements(*given(logits, targets), KEY)
    smoothed = (1 - smoothing) * np.eye(V)[targets] + smoothing / V
    np.testing.assert_allclose(losses, -(smoothed * log_softmax(logits)).sum(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weights, np.ones(shape))


@pytest.mark.parametrize("task", [Classification, LanguageModeling])
def test_smoothing_is_for_training_alone(task):
    call, batch = given(RANDOM.normal(size=(B, T, V)), RANDOM.integers(0, V, (B, T)))
    made = task(label_smoothing=0.3)
    assert isinstance(made, Judging)
    np.testing.assert_array_equal(made.judge(call, batch, KEY)[0], task().elements(call, batch, KEY)[0])
    assert float(jnp.abs(made.judge(call, batch, KEY)[0] - made.elements(call, batch, KEY)[0]).min()) > 1e-3


def test_without_smoothing_a_class_that_is_ruled_out_does_no_harm():
    logits, targets = np.array([[0.0, 1.0, -np.inf], [2.0, -np.inf, 0.0]], np.float32), np.array([0, 2])
    for task in (Classification(), LanguageModeling()):
        losses, _, _ = task.elements(*given(logits, targets), KEY)
        np.testing.assert_allclose(losses, [np.log(1 + np.e), np.log(1 + np.e**2)], rtol=1e-6)

        def loss(logits, task=task):
            return jnp.sum(task.elements(lambda inputs: logits, given(logits, targets)[1], KEY)[0])

        probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(jax.jit(jax.grad(loss))(logits), probability - np.eye(3)[targets], atol=1e-6)


def test_accuracy_counts_the_weighted_hits():
    logits = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]]
    call, batch = given(logits, [0, 1, 0, 0], weights=jnp.asarray([1.0, 3.0, 2.0, 0.0]))
    accuracy = Classification().elements(call, batch, KEY)[2]["accuracy"]
    assert (float(accuracy.total), float(accuracy.weight)) == (4.0, 6.0)
    assert set(Classification().metrics) == {"accuracy"}


def test_huge_logits_and_low_precision_stay_finite_and_exact():
    call, batch = given(np.array([[1e4, -1e4], [1e4, -1e4]]), [0, 1])
    np.testing.assert_array_equal(Classification().elements(call, batch, KEY)[0], [0.0, 2e4])
    call, batch = given(jnp.asarray([[0.0, 0.0]], jnp.bfloat16), [1])
    losses = Classification().elements(call, batch, KEY)[0]
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, np.log(2), rtol=1e-6)


def test_predictions_are_the_likeliest_class_and_probabilities():
    logits = RANDOM.normal(size=(B, V)).astype(np.float32)
    found = Classification().predict(*given(logits, [0] * B))
    np.testing.assert_array_equal(found["label"], logits.argmax(-1))
    np.testing.assert_allclose(found["probability"], np.exp(log_softmax(logits)), rtol=1e-5)
