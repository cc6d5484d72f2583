"""Every task's gradient, through every model that it trains, agrees with finite differences in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, assert_gradient, float64

from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.mlp import MLP
from bigtrain.models.rnn import RNN
from bigtrain.models.vae import VAE
from bigtrain.tasks.classification import Classification
from bigtrain.tasks.elbo import ELBO
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.regression import Regression
from bigtrain.train.step import mean_gradient

B, T, D = 4, 5, 3
RANDOM = np.random.default_rng(0)
VALUES = Field((T, D), "float32", "features", low=0.0, high=1.0)
TOKENS = Field((T,), "int32", "tokens")
LENGTH = Field((), "int32", "length")
INPUTS = RANDOM.uniform(size=(B, T, D))
WEIGHTS = np.array([1.0, 0.5, 0.0, 2.0])
LENGTHS = np.array([5, 3, 4, 1])


def spec(inputs, targets=None, **extra):
    fields = {"inputs": inputs, **({"targets": targets} if targets else {}), **extra}
    letters = Vocabulary(tuple("abcd")) if inputs is TOKENS else None
    return Spec("made up", fields, {"train": 8}, ("a", "b", "c"), letters)


def label(*shape):
    return Field(shape, "int32", "label")


def real(*shape):
    return Field(shape, "float32", "real")


def classes(*shape):
    return RANDOM.integers(0, 3, shape)


def padded(data, model, task, targets, inputs=INPUTS):
    return data, model, task, {"inputs": inputs, "targets": targets, "lengths": LENGTHS, "weights": WEIGHTS}


CASES = {
    "classification, mlp": (
        spec(VALUES, label()),
        lambda data, rngs: MLP(data, widths=(4,), activation="tanh", norm="layer", rngs=rngs),
        Classification(label_smoothing=0.1),
        {"inputs": INPUTS, "targets": classes(B), "weights": WEIGHTS},
    ),
    "classification, mlp with batch norm and dropout": (
        spec(VALUES, label()),
        lambda data, rngs: MLP(data, widths=(8,), activation="silu", norm="batch", dropout=0.3, rngs=rngs),
        Classification(),
        {"inputs": INPUTS, "targets": classes(B)},
    ),
    "classification of each step, rnn": padded(
        spec(VALUES, label(T), lengths=LENGTH),
        lambda data, rngs: RNN(data, cell="gru", width=3, dropout=0.3, bidirectional=True, rngs=rngs),
        Classification(),
        classes(B, T),
    ),
    "regression, mlp": (
        spec(VALUES, real(2)),
        lambda data, rngs: MLP(data, widths=(4,), activation="gelu", rngs=rngs),
        Regression(),
        {"inputs": INPUTS, "targets": RANDOM.normal(size=(B, 2)), "weights": WEIGHTS},
    ),
    "regression of each step, rnn": padded(
        spec(VALUES, real(T, 2), lengths=LENGTH),
        lambda data, rngs: RNN(data, cell="simple", width=3, rngs=rngs),
        Regression(),
        RANDOM.normal(size=(B, T, 2)),
    ),
    "language modelling, rnn": padded(
        spec(TOKENS, TOKENS, lengths=LENGTH),
        lambda data, rngs: RNN(data, width=3, embedding=3, rngs=rngs),
        LanguageModeling(label_smoothing=0.2),
        RANDOM.integers(0, 4, (B, T)),
        inputs=RANDOM.integers(0, 4, (B, T)),
    ),
    "elbo, bernoulli": (
        spec(VALUES),
        lambda data, rngs: VAE(data, widths=(4,), latent=2, activation="tanh", rngs=rngs),
        ELBO(),
        {"inputs": INPUTS, "weights": WEIGHTS},
    ),
    "elbo, gaussian": (
        spec(VALUES),
        lambda data, rngs: VAE(data, widths=(4,), latent=2, activation="elu", likelihood="gaussian", rngs=rngs),
        ELBO(),
        {"inputs": INPUTS, "weights": WEIGHTS},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_agrees_with_finite_differences(name):
    data, make, task, arrays = CASES[name]
    key = jax.random.key(0)
    with float64():
        recipe, parts = apart(lambda: make(data, nnx.Rngs(0)), dtype="float64")
        batch = {name: jnp.asarray(array) for name, array in arrays.items()}
        numbers = {"dropout": 0.3, "beta": 0.7}
        run = jax.jit(mean_gradient(recipe, task, numbers, dtype=jnp.dtype("float64")))

        def loss(some):
            found = run({**parts.params, **some}, parts.rest, batch, key)[2]["loss"]
            return found.total / found.weight

        grads, _, metrics = run(parts.params, parts.rest, batch, key)
        assert all(mean.total.dtype == jnp.float64 for mean in metrics.values())
        tested = parts.params
        if "batch norm" in name:  # it subtracts the mean, so the bias before it has no influence at all
            np.testing.assert_allclose(grads["hidden.0.bias"], 0.0, atol=1e-12)
            tested = {k: v for k, v in tested.items() if k != "hidden.0.bias"}
        assert_gradient(loss, tested, grads)
