"""What has weight 0, or lies beyond a sequence's length, contributes exactly nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart

from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.rnn import RNN
from bigtrain.models.vae import VAE
from bigtrain.tasks.classification import Classification
from bigtrain.tasks.elbo import ELBO
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.regression import Regression
from bigtrain.tasks.task import weights_like
from bigtrain.train.step import mean_gradient

B, T, D = 4, 5, 3
KEY = jax.random.key(0)
LENGTHS = jnp.asarray([5, 2, 3, 1])


def test_the_weight_of_a_step_is_the_example_s_within_its_length():
    losses = jnp.zeros((3, 4))
    batch = {"weights": jnp.asarray([1.0, 0.0, 2.0]), "lengths": jnp.asarray([4, 3, 1])}
    expected = [[1, 1, 1, 1], [0, 0, 0, 0], [2, 0, 0, 0]]
    np.testing.assert_array_equal(weights_like(batch, losses), expected)
    np.testing.assert_array_equal(weights_like(batch, losses[:, 0]), [1, 0, 2])
    np.testing.assert_array_equal(weights_like({}, losses), np.ones((3, 4)))


def test_several_labels_of_a_sequence_count_whatever_its_length():
    batch = {"lengths": jnp.asarray([1, 2]), "inputs": jnp.zeros((2, 6, 2))}
    np.testing.assert_array_equal(weights_like(batch, jnp.zeros((2, 3))), np.ones((2, 3)))
    np.testing.assert_array_equal(weights_like(batch, jnp.zeros((2, 6))).sum(1), [1, 2])


def drawn(seed, kind, *shape):
    random = np.random.default_rng(seed)
    if kind in ("tokens", "label"):
        return jnp.asarray(random.integers(0, 3, shape), jnp.int32)
    return jnp.asarray(random.uniform(size=shape), jnp.float32)


def case(task, inputs, targets=None, model=RNN, **options):
    """A spec, a model, a task, and a batch by seed."""
    fields = {"inputs": inputs, **({"targets": targets} if targets else {})}
    if model is RNN:
        fields["lengths"] = Field((), "int32", "length")
    letters = Vocabulary(tuple("abc")) if inputs.kind == "tokens" else None
    data = Spec("made up", fields, {"train": 8}, ("a", "b", "c"), letters)

    def batch(seed):
        return {name: drawn(seed, one.kind, B, *one.shape) for name, one in fields.items() if name != "lengths"}

    return task, lambda: model(data, **options, rngs=nnx.Rngs(0)), batch


ROWS = Field((T, D), "float32", "features", low=0.0, high=1.0)
TOKENS = Field((T,), "int32", "tokens")
STEPS = {"cell": "simple", "width": 3}
CASES = {
    "classification": case(Classification(0.1), ROWS, Field((), "int32", "label"), **STEPS),
    "classification of steps": case(Classification(), ROWS, Field((T,), "int32", "label"), **STEPS),
    "regression": case(Regression(), ROWS, Field((2,), "float32", "real"), **STEPS),
    "regression of steps": case(Regression(), ROWS, Field((T,), "float32", "real"), **STEPS),
    "language modelling": case(LanguageModeling(0.1), TOKENS, TOKENS, **STEPS),
    "elbo": case(ELBO(), ROWS, model=VAE, widths=(3,), latent=2),
}


@functools.cache
def gradient_of(name):
    """The compiled gradient of a case, for a batch with weights and lengths."""
    task, make, _ = CASES[name]
    recipe, parts = apart(make)
    run = jax.jit(mean_gradient(recipe, task, {"dropout": 0.0, "beta": 1.0}, dtype=jnp.dtype("float32")))

    def of(batch, weights=(1.0, 1.0, 1.0, 1.0)):
        lengths = {} if name == "elbo" else {"lengths": LENGTHS}
        return run(parts.params, parts.rest, {**batch, **lengths, "weights": jnp.asarray(weights)}, KEY)

    return of


@pytest.mark.parametrize("name", CASES)
def test_an_example_of_weight_zero_changes_no_bit(name):
    batch, weights = CASES[name][2], np.array([1.0, 0.0, 0.5, 0.0])
    one, other = batch(0), batch(1)
    mixed = {k: jnp.where((weights == 0).reshape(B, *[1] * (v.ndim - 1)), other[k], v) for k, v in one.items()}
    results = [gradient_of(name)(given, weights) for given in (one, mixed)]
    jax.tree.map(np.testing.assert_array_equal, *results)
    assert any(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(results[0][0]))


@pytest.mark.parametrize("name", [name for name in CASES if name != "elbo"])
def test_steps_beyond_the_length_change_no_bit(name):
    one, other = CASES[name][2](0), CASES[name][2](1)
    beyond = jnp.arange(T) >= LENGTHS[:, None]
    mixed = {
        k: jnp.where(beyond.reshape(B, T, *[1] * (v.ndim - 2)), other[k], v) if v.shape[1:2] == (T,) else v
        for k, v in one.items()
    }
    assert any((mixed[k] != v).any() for k, v in one.items())
    jax.tree.map(np.testing.assert_array_equal, *(gradient_of(name)(given) for given in (one, mixed)))


@pytest.mark.parametrize("name", CASES)
def test_a_batch_in_which_nothing_counts_has_a_gradient_of_zero(name):
    for gradient in gradient_of(name)(CASES[name][2](0), np.zeros(B))[0].values():
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("name", ["classification of steps", "regression of steps", "language modelling"])
def test_the_mean_is_over_the_valid_steps_of_all_sequences(name):
    """Not a mean of each sequence's mean: a short sequence counts by its steps."""
    task, make, batch = CASES[name]
    recipe, parts = apart(make)
    model = recipe.merge(parts, {"dropout": 0.0}, KEY, training=True)
    losses, _, _ = task.elements(model, {**batch(0), "lengths": LENGTHS}, KEY)
    found = gradient_of(name)(batch(0))[2]["loss"]
    expected = np.concatenate([np.asarray(losses[row, :length]) for row, length in enumerate(LENGTHS)])
    np.testing.assert_allclose(found.total / found.weight, expected.mean(), rtol=1e-5)
    assert float(found.weight) == 11
