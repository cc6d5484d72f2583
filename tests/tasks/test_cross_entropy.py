"""Losses that are written out for speed equal Optax's, values and gradients, also at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support import prepared
from tiny import build

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.rnn import RNN
from bigtrain.models.transformer import Transformer
from bigtrain.tasks.cross_entropy import smoothed
from bigtrain.tasks.elbo import bernoulli
from bigtrain.tasks.language_modeling import LanguageModeling

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

    logits, values = logits[:, None], values[:, None]  # each by itself

    def reference(logits, values):
        return optax.sigmoid_binary_cross_entropy(logits, values).sum(-1)

    np.testing.assert_allclose(bernoulli(logits, values), reference(logits, values), rtol=1e-6, atol=1e-7)
    for by in (0, 1):
        grads = [jax.grad(lambda *of, f=f: f(*of).sum(), by)(logits, values) for f in (bernoulli, reference)]
        np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("number", [2, 16, 17, 784])
@pytest.mark.parametrize("scale", [0.01, 3.0, 20.0])
def test_bernoulli_of_many_is_the_sum_of_each(number, scale):
    random = np.random.default_rng(0)
    logits, values = scale * random.normal(size=(5, number)), random.uniform(size=(5, number))
    expected = (np.logaddexp(0, logits) - logits * values).sum(-1)
    given = jnp.asarray(logits, jnp.float32), jnp.asarray(values, jnp.float32)
    np.testing.assert_allclose(bernoulli(*given), expected, rtol=1e-6)
    found = jax.grad(lambda logits: bernoulli(logits, given[1]).sum())(given[0])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)) - values, rtol=1e-5, atol=1e-6)


def test_bernoulli_of_many_loses_nothing_small():
    """Each term is below what a 1 can hold in float32."""
    logits = jnp.full((1, 784), -20.0)
    np.testing.assert_allclose(bernoulli(logits, jnp.zeros_like(logits)), [784 * np.log1p(np.exp(-20.0))], rtol=1e-6)


STEPS = 10
TOKENS = Field((STEPS,), "int32", "tokens")
TEXT = Spec("text", {"inputs": TOKENS, "targets": TOKENS}, {"train": 8}, None, Vocabulary(tuple("abcdefg")))
FAMILIES = {
    "rnn": lambda: RNN(TEXT, width=8, embedding=4, rngs=nnx.Rngs(0)),
    "transformer": lambda: Transformer(TEXT, width=8, heads=2, layers=2, tie_embeddings=True, rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk", [1, 3, pytest.param(5, marks=pytest.mark.long), 10, 64])
def test_in_chunks_is_the_same_loss_with_the_same_gradient(family, chunk):
    tokens = jax.random.randint(jax.random.key(2), (4, STEPS + 1), 0, 7)
    batch = {"inputs": tokens[:, :-1], "targets": tokens[:, 1:], "weights": jnp.array([1.0, 0.0, 1.0, 1.0])}
    graph, params, rest = nnx.split(build(FAMILIES[family], seed=1), nnx.Param, ...)

    def mean(params, task):
        losses, weights, metrics = task.elements(nnx.merge(graph, params, rest, copy=True), batch, jax.random.key(0))
        assert losses.shape == (4, STEPS)
        return (losses * weights).sum() / weights.sum(), metrics["accuracy"].total

    whole, pieces = (
        jax.value_and_grad(mean, has_aux=True)(params, LanguageModeling(label_smoothing=0.1, chunk=size))
        for size in (None, chunk)
    )
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, rtol=2e-5, atol=1e-7), whole, pieces)


def test_in_chunks_the_scores_are_never_in_memory_together_and_count_once():
    def measured(chunk):
        ready, _, _ = prepared(
            "model=transformer/nano", "data=text", "data.length=128", "task=language_modeling", f"task.chunk={chunk}",
            "accumulate=1",
        )  # fmt: skip
        return ready.program.executables["advance"].memory_analysis().temp_size_in_bytes, ready.program.flops

    (pieces, counted), (whole, expected) = measured(16), measured("null")
    assert pieces < whole
    assert counted == expected  # what is computed again is no work that was asked for


def test_a_model_without_scores_of_its_own_is_refused():
    class Whole:
        def __call__(self, inputs):
            return inputs

    with pytest.raises(ConfigError, match=r"^task\.chunk: Whole can't give the scores of some steps alone"):
        LanguageModeling(chunk=4).elements(Whole(), {"inputs": LABELS, "targets": LABELS}, jax.random.key(0))
