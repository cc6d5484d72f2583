"""The mean gradient: however the batch is cut up, and in which type the model computes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import NUMBERS, apart

from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.mlp import MLP
from bigtrain.models.rnn import RNN
from bigtrain.models.vae import VAE
from bigtrain.tasks.classification import Classification
from bigtrain.tasks.elbo import ELBO
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.regression import Regression
from bigtrain.train.step import mean_gradient

B, T, D = 16, 5, 3
KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
ROWS = Field((T, D), "float32", "features", low=0.0, high=1.0)
TOKENS = Field((T,), "int32", "tokens")
LENGTH = Field((), "int32", "length")
VALUES = RANDOM.uniform(size=(B, T, D)).astype(np.float32)
LETTERS = RANDOM.integers(0, 4, (B, T))
UNEVEN = {"lengths": RANDOM.integers(1, T + 1, B), "weights": RANDOM.uniform(0.0, 2.0, B).astype(np.float32)}


def spec(inputs, targets=None, **extra):
    fields = {"inputs": inputs, **({"targets": targets} if targets else {}), **extra}
    return Spec(
        "made up", fields, {"train": 8}, ("a", "b", "c"), Vocabulary(tuple("abcd")) if inputs is TOKENS else None
    )


def made(model, data, **options):
    return lambda: model(data, **options, rngs=nnx.Rngs(0))


LABEL, STEPS = Field((), "int32", "label"), Field((T,), "float32", "real")
CASES = {
    "mlp": (
        made(MLP, spec(ROWS, LABEL), widths=(6,), norm="layer"),
        Classification(),
        {"inputs": VALUES, "targets": LETTERS[:, 0] % 3, "weights": UNEVEN["weights"]},
    ),
    "rnn": (
        made(RNN, spec(ROWS, STEPS, lengths=LENGTH), cell="gru", width=4),
        Regression(),
        {"inputs": VALUES, "targets": VALUES[..., 0] * 2, **UNEVEN},
    ),
    "rnn over tokens": (
        made(RNN, spec(TOKENS, TOKENS, lengths=LENGTH), width=4, embedding=3),
        LanguageModeling(),
        {"inputs": LETTERS, "targets": LETTERS[:, ::-1].copy(), **UNEVEN},
    ),
    "vae": (made(VAE, spec(ROWS), widths=(6,), latent=2), ELBO(), {"inputs": VALUES}),
}


@functools.cache
def run(name, dtype="float32", accumulate=1):
    make, task, batch = CASES[name]
    recipe, parts = apart(make)
    gradient = jax.jit(mean_gradient(recipe, task, NUMBERS, dtype=jnp.dtype(dtype), accumulate=accumulate))
    return gradient(parts.params, parts.rest, {k: jnp.asarray(v) for k, v in batch.items()}, KEY)


@pytest.mark.parametrize("name", CASES)
def test_accumulated_equals_whole(name, monkeypatch):
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.zeros(shape, dtype))  # the VAE's noise
    (grads, _, metrics), (again, _, metrics_again) = run(name), run(name, accumulate=4)
    for key, value in grads.items():
        np.testing.assert_allclose(again[key], value, rtol=1e-5, atol=1e-6 * np.abs(value).max(), err_msg=key)
    for key, mean in metrics.items():
        np.testing.assert_allclose(metrics_again[key].total, mean.total, rtol=1e-5, err_msg=key)
        np.testing.assert_allclose(metrics_again[key].weight, mean.weight, rtol=1e-6, err_msg=key)


def test_each_microbatch_has_noise_of_its_own():
    """Four times the same example: the loss is the sum of four that differ by their noise alone."""
    make, task, batch = CASES["vae"]
    recipe, parts = apart(make)
    one = {"inputs": jnp.asarray(batch["inputs"][:1])}
    four = {"inputs": jnp.repeat(one["inputs"], 4, axis=0)}

    def loss(batch, key, accumulate):
        gradient = mean_gradient(recipe, task, NUMBERS, dtype=jnp.dtype("float32"), accumulate=accumulate)
        return gradient(parts.params, parts.rest, batch, key)[2]["loss"].total

    single = jax.jit(lambda key: loss(one, key, 1))
    each = [float(single(jax.random.fold_in(KEY, at))) for at in range(4)]
    np.testing.assert_allclose(jax.jit(lambda: loss(four, KEY, 4))(), sum(each), rtol=1e-6)
    assert len(set(each)) == 4


def test_batch_statistics_after_microbatches_are_those_of_the_whole_batch():
    recipe, parts = apart(made(MLP, spec(ROWS, LABEL), widths=(6,), norm="batch"))
    batch = {"inputs": jnp.asarray(VALUES), "targets": jnp.asarray(LETTERS[:, 0] % 3)}
    hidden = VALUES.reshape(B, -1) @ parts.params["hidden.0.kernel"] + parts.params["hidden.0.bias"]
    for accumulate in (1, 2, 4):
        gradient = mean_gradient(recipe, Classification(), NUMBERS, dtype=jnp.dtype("float32"), accumulate=accumulate)
        _, rest, _ = jax.jit(gradient)(parts.params, parts.rest, batch, KEY)
        np.testing.assert_allclose(rest["norms.0.mean"], 0.1 * hidden.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rest["norms.0.var"], 0.9 + 0.1 * hidden.var(0), rtol=1e-5)
        assert float(rest["norms.0.count"]) == B


@pytest.mark.parametrize("name", CASES)
def test_in_bfloat16_every_matrix_product_is_one_and_gradients_stay_float32(name):
    make, task, batch = CASES[name]
    recipe, parts = apart(make)
    gradient = mean_gradient(recipe, task, NUMBERS, dtype=jnp.dtype("bfloat16"), accumulate=2)
    given = {k: jnp.asarray(v) for k, v in batch.items()}
    text = str(jax.make_jaxpr(gradient)(parts.params, parts.rest, given, KEY))
    products = re.findall(r":(\w+)\[[\d,]*\] = dot_general", text)
    assert len(products) >= 5
    assert set(products) == {"bf16"}
    grads, rest, metrics = jax.eval_shape(gradient, parts.params, parts.rest, given, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves((grads, metrics))} == {jnp.dtype("float32")}
    assert rest.keys() == parts.rest.keys()


def test_in_bfloat16_the_batch_statistics_stay_float32():
    recipe, parts = apart(made(MLP, spec(ROWS, LABEL), widths=(6,), norm="batch"))
    gradient = mean_gradient(recipe, Classification(), NUMBERS, dtype=jnp.dtype("bfloat16"))
    batch = {"inputs": jnp.asarray(VALUES), "targets": jnp.asarray(LETTERS[:, 0] % 3)}
    rest = jax.eval_shape(gradient, parts.params, parts.rest, batch, KEY)[1]
    assert {name: leaf.dtype for name, leaf in rest.items()} == dict.fromkeys(parts.rest, jnp.dtype("float32"))


@pytest.mark.parametrize("name", ["mlp", "rnn"])
def test_the_bfloat16_gradient_is_near_the_float32_one(name):
    exact, near = run(name)[0], run(name, dtype="bfloat16")[0]
    for key, value in exact.items():
        assert float(jnp.linalg.norm(near[key] - value)) < 0.05 * float(jnp.linalg.norm(value)), key
