"""The importance-weighted bound (Burda et al. 2015): equal to the ELBO with one sample, tighter with more."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, build

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.schema import CheckpointConfig
from bigtrain.data.spec import Field, Spec
from bigtrain.models.vae import VAE
from bigtrain.tasks.elbo import ELBO
from bigtrain.tasks.task import Judging

KEY = jax.random.key(0)
WEIGHT, BIAS, NOISE, PIXEL = 1.5, 0.3, 0.5, 0.8  # p(x|z) = N(1.5 z + 0.3, 0.5)
REPEATED = 4000


def linear_gaussian(code_mean=0.2, code_variance=0.9):
    """One pixel, one code, and a posterior that isn't the exact one."""
    data = Spec("one", {"inputs": Field((1,), "float32", "features")}, {"train": 8})
    model = build(lambda: VAE(data, widths=(), latent=1, likelihood="gaussian", rngs=nnx.Rngs(0)))
    model.output.kernel[...], model.output.bias[...] = jnp.full((1, 1), WEIGHT), jnp.full(1, BIAS)
    model.log_variance[...] = jnp.float32(np.log(NOISE))
    model.code.kernel[...] = jnp.zeros((1, 2))
    model.code.bias[...] = jnp.asarray([code_mean, np.log(code_variance)])
    return model


def judged(samples, model=None, key=KEY):
    """The mean bound over many draws, and all metrics."""
    batch = {"inputs": jnp.full((REPEATED, 1), PIXEL)}
    _, _, metrics = ELBO(importance_samples=samples).judge(model or linear_gaussian(), batch, key)
    return {name: float(mean.total / mean.weight) for name, mean in metrics.items()}


EXACT = -0.5 * (np.log(2 * np.pi * (WEIGHT**2 + NOISE)) + (PIXEL - BIAS) ** 2 / (WEIGHT**2 + NOISE))


def test_with_one_sample_its_expectation_is_the_elbo():
    """log p(x|z) has a deviation of about 4 here, so the mean of 4,000 draws is known to 0.07."""
    codes_mean, codes_variance = 0.2, 0.9
    squared = (PIXEL - WEIGHT * codes_mean - BIAS) ** 2 + WEIGHT**2 * codes_variance
    likelihood = -0.5 * (np.log(2 * np.pi * NOISE) + squared / NOISE)
    kl = 0.5 * (codes_mean**2 + codes_variance - 1 - np.log(codes_variance))
    np.testing.assert_allclose(judged(1)["iwae"], likelihood - kl, atol=0.25)


def test_it_rises_with_the_number_of_samples_towards_the_exact_likelihood():
    bounds = [judged(samples)["iwae"] for samples in (1, 5, 50, 500)]
    assert bounds == sorted(bounds)
    assert bounds[1] - bounds[0] > 0.3
    np.testing.assert_allclose(bounds[-1], EXACT, atol=0.01)


def test_with_the_exact_posterior_one_sample_is_enough():
    total = WEIGHT**2 + NOISE
    exact = linear_gaussian(WEIGHT / total * (PIXEL - BIAS), NOISE / total)
    batch = {"inputs": jnp.full((7, 1), PIXEL)}
    for weights in np.eye(7, dtype=np.float32)[:2]:
        metrics = ELBO(importance_samples=1).judge(exact, {**batch, "weights": jnp.asarray(weights)}, KEY)[2]
        np.testing.assert_allclose(metrics["iwae"].total, EXACT, atol=1e-5)


def test_it_is_the_logarithm_of_the_mean_weight():
    """Bernoulli pixels: against the plain formula with the same codes."""
    data = Spec("made up", {"inputs": Field((2, 3), "float32", "features", low=0.0, high=1.0)}, {"train": 8})
    model = build(lambda: VAE(data, widths=(4,), latent=2, rngs=nnx.Rngs(0)))
    inputs = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 2, 3)), jnp.float32)
    mean, log_variance = (np.asarray(part, np.float64) for part in model.encode(inputs))
    weights = []
    for at in range(6):
        noise = np.asarray(jax.random.normal(jax.random.fold_in(KEY, at), mean.shape, jnp.float32), np.float64)
        codes = mean + np.exp(0.5 * log_variance) * noise
        p = 1 / (1 + np.exp(-np.asarray(model.decode(jnp.asarray(codes, jnp.float32)), np.float64)))
        likelihood = (inputs * np.log(p) + (1 - inputs) * np.log(1 - p)).sum((1, 2))
        prior = -0.5 * (codes**2 + np.log(2 * np.pi)).sum(-1)
        posterior = -0.5 * (noise**2 + np.log(2 * np.pi) + log_variance).sum(-1)
        weights.append(np.exp(likelihood + prior - posterior))
    found = ELBO(importance_samples=6).judge(model, {"inputs": inputs}, KEY)[2]["iwae"]
    np.testing.assert_allclose(found.total, np.log(np.mean(weights, axis=0)).sum(), rtol=1e-5)


def test_it_is_reported_in_evaluation_alone_and_only_where_asked_for():
    batch, model = {"inputs": jnp.full((3, 1), PIXEL)}, linear_gaussian()
    off, on = ELBO(), ELBO(importance_samples=2)
    assert isinstance(on, Judging)
    assert (off.metrics, on.metrics) == (("elbo", "reconstruction", "kl"), ("elbo", "reconstruction", "kl", "iwae"))
    assert set(off.judge(model, batch, KEY)[2]) == set(off.elements(model, batch, KEY)[2]) == set(off.metrics)
    assert set(on.judge(model, batch, KEY)[2]) == set(on.metrics)
    assert set(on.elements(model, batch, KEY)[2]) == set(off.metrics)


def test_memory_does_not_grow_with_the_samples():
    data = Spec("made up", {"inputs": Field((40,), "float32", "features", low=0.0, high=1.0)}, {"train": 8})
    recipe, parts = apart(lambda: VAE(data, widths=(30,), latent=2, rngs=nnx.Rngs(0)))

    def bound(inputs, samples):
        model = recipe.merge(parts, {"beta": 1.0}, KEY, training=False)
        return ELBO(importance_samples=samples).judge(model, {"inputs": inputs}, KEY)[2]["iwae"].total

    temporary = []
    for samples in (2, 2000):
        compiled = jax.jit(functools.partial(bound, samples=samples)).lower(jnp.ones((64, 40))).compile()
        temporary.append(compiled.memory_analysis().temp_size_in_bytes)
    assert temporary[1] < 2 * temporary[0]


@pytest.mark.parametrize(("monitor", "mode"), [("iwae", "max"), ("elbo", "max"), ("kl", "min"), ("loss", "min")])
def test_the_best_checkpoint_is_the_one_with_the_greatest_bound(monitor, mode, tmp_path):
    assert Checkpoints(tmp_path, CheckpointConfig(monitor=monitor)).mode == mode
