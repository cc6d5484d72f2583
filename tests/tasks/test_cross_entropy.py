"""Losses that are written out for speed equal Optax's, values and gradients, also at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bigtrain.tasks.cross_entropy import smoothed
from bigtrain.tasks.elbo import bernoulli

LOGITS = jax.random.normal(jax.random.key(0), (4, 5, 7)) * 8
LABELS = jax.random.randint(jax.random.key(1), (4, 5), 0, 7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing):
    def reference(logits):
        targets = optax.smooth_labels(jax.nn.one_hot(LABELS, 7), smoothing)
        return optax.softmax_cross_entropy(logits, targets)

    def ours(logits):
        return smoothed(logits, LABELS, jnp.float32(smoothing))

    np.testing.assert_allclose(ours(LOGITS), reference(LOGITS), rtol=2e-6, atol=1e-6)
    grads = [jax.grad(lambda logits, loss=loss: loss(logits).sum())(LOGITS) for loss in (ours, reference)]
    np.testing.assert_allclose(*grads, rtol=2e-5, atol=1e-6)


def test_a_class_that_is_ruled_out_costs_nothing_and_has_no_gradient():
    logits = jnp.array([[0.0, 1.0, -jnp.inf]])
    loss, grads = jax.value_and_grad(lambda logits: smoothed(logits, jnp.array([0]), jnp.float32(0.0)).sum())(logits)
    np.testing.assert_allclose(loss, np.log1p(np.e), rtol=1e-6)
    np.testing.assert_allclose(grads, [[1 / (1 + np.e) - 1, np.e / (1 + np.e), 0]], rtol=1e-6)


def test_bernoulli_far_from_zero_and_at_it():
    logits = jnp.array([-200.0, -30.0, -1.0, 0.0, 1e-3, 2.0, 30.0, 200.0])
    values = jnp.array([0.0, 0.25, 1.0, 0.5, 0.0, 0.75, 1.0, 0.0])

    def reference(logits, values):
        return optax.sigmoid_binary_cross_entropy(logits, values)

    np.testing.assert_allclose(bernoulli(logits, values), reference(logits, values), rtol=1e-6, atol=1e-7)
    for by in (0, 1):
        grads = [jax.grad(lambda *of, f=f: f(*of).sum(), by)(logits, values) for f in (bernoulli, reference)]
        np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-7)
