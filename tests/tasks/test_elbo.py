"""The evidence lower bound: each term against NumPy or Monte Carlo, and the bound itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import build

from bigtrain.data.spec import Field, Spec
from bigtrain.models.vae import VAE
from bigtrain.tasks.elbo import ELBO

B, Z = 4, 3
SHAPE = (2, 3)
RANDOM = np.random.default_rng(0)
DATA = Spec("made up", {"inputs": Field(SHAPE, "float32", "features", low=0.0, high=1.0)}, {"train": 8})
KEY = jax.random.key(0)


def outputs(**changes):
    """What a VAE answers, made of given numbers."""
    return {
        "outputs": jnp.asarray(RANDOM.normal(size=(B, *SHAPE)) * 2),
        "mean": jnp.asarray(RANDOM.normal(size=(B, Z))),
        "log_variance": jnp.asarray(RANDOM.normal(size=(B, Z))),
        "beta": jnp.asarray(1.0),
        **changes,
    }


def elements(result, inputs, **extra):
    return ELBO().elements(Answer(result), {"inputs": jnp.asarray(inputs), **extra}, KEY)


class Answer(nnx.Module):
    """A 'model' that always answers the same."""

    def __init__(self, result):
        self.result = nnx.data(result)

    def __call__(self, inputs):
        return self.result


def each(result, inputs, name):
    """A metric of every single example, read out by giving only that one weight."""
    return [float(elements(result, inputs, weights=jnp.eye(B)[row])[2][name].total) for row in range(B)]


INPUTS = RANDOM.uniform(size=(B, *SHAPE))


def test_kl_in_closed_form_equals_monte_carlo():
    result = outputs()
    mean, log_variance = (np.asarray(result[name], np.float64) for name in ("mean", "log_variance"))
    deviation = np.exp(0.5 * log_variance)
    samples = 200_000
    noise = RANDOM.normal(size=(samples, B, Z))
    codes = mean + deviation * noise
    log_ratio = (-0.5 * noise**2 - np.log(deviation) + 0.5 * codes**2).sum(-1)  # log q(z|x) - log p(z)
    error = log_ratio.std(0) / np.sqrt(samples)
    assert (np.abs(each(result, INPUTS, "kl") - log_ratio.mean(0)) < 4 * error).all()
    assert error.max() < 0.02


def test_kl_of_the_prior_itself_is_zero():
    result = outputs(mean=jnp.zeros((B, Z)), log_variance=jnp.zeros((B, Z)))
    assert each(result, INPUTS, "kl") == [0.0] * B


def test_the_bernoulli_likelihood_equals_its_formula():
    result = outputs()
    probability = 1 / (1 + np.exp(-np.asarray(result["outputs"], np.float64)))
    log_likelihood = (INPUTS * np.log(probability) + (1 - INPUTS) * np.log(1 - probability)).sum((1, 2))
    np.testing.assert_allclose(each(result, INPUTS, "reconstruction"), -log_likelihood, rtol=1e-5)


@pytest.mark.parametrize("log_variance", [0.0, -1.3, 2.0])
def test_the_gaussian_likelihood_equals_its_formula(log_variance):
    result = outputs(output_log_variance=jnp.asarray(log_variance))
    variance = np.exp(log_variance)
    squared = (np.asarray(result["outputs"]) - INPUTS) ** 2
    density = np.exp(-squared / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    np.testing.assert_allclose(each(result, INPUTS, "reconstruction"), -np.log(density).sum((1, 2)), rtol=1e-5)


def test_beta_weighs_the_loss_and_not_the_bound_that_is_reported():
    for beta in (0.0, 1.0, 4.0):
        result = outputs(beta=jnp.asarray(beta))
        losses, _, metrics = elements(result, INPUTS)
        reconstruction, kl, bound = (metrics[name].total for name in ("reconstruction", "kl", "elbo"))
        np.testing.assert_allclose(losses.sum(), reconstruction + beta * kl, rtol=1e-5)
        np.testing.assert_allclose(bound, -(reconstruction + kl), rtol=1e-6)
        assert set(metrics) == set(ELBO().metrics)


def test_it_is_a_lower_bound_that_is_tight_where_the_posterior_is_exact():
    """A linear Gaussian model with one pixel and one code: log p(x) and p(z|x) are known exactly."""
    weight, bias, log_variance, samples = 1.5, 0.3, np.log(0.5), 200_000
    data = Spec("one", {"inputs": Field((1,), "float32", "features")}, {"train": 8})
    model = build(lambda: VAE(data, widths=(), latent=1, likelihood="gaussian", rngs=nnx.Rngs(0)))
    model.output.kernel[...], model.output.bias[...] = jnp.full((1, 1), weight), jnp.full(1, bias)
    model.log_variance[...] = jnp.float32(log_variance)
    noise, total = np.exp(log_variance), weight**2 + np.exp(log_variance)
    pixel = 0.8
    exact = -0.5 * (np.log(2 * np.pi * total) + (pixel - bias) ** 2 / total)
    model.code.bias[...] = jnp.zeros(2)
    for name, gain, code_variance in (("exact", weight / total, noise / total), ("other", 0.2, 0.9)):
        mean = gain * (pixel - bias)
        model.code.kernel[...] = jnp.asarray([[mean / pixel, np.log(code_variance) / pixel]])
        _, _, metrics = ELBO().elements(model, {"inputs": jnp.full((samples, 1), pixel)}, KEY)
        bound = float(metrics["elbo"].total) / samples
        if name == "exact":
            np.testing.assert_allclose(bound, exact, atol=0.01)
        else:
            assert bound < exact - 0.05


def test_predictions_are_the_reconstruction_from_the_mean_and_the_code():
    model, inputs = build(lambda: VAE(DATA, widths=(4,), latent=Z, rngs=nnx.Rngs(0))), jnp.asarray(INPUTS, jnp.float32)
    found = ELBO().predict(model, {"inputs": inputs})
    mean, _ = model.encode(inputs)
    np.testing.assert_array_equal(found["code"], mean)
    np.testing.assert_allclose(found["reconstruction"], jax.nn.sigmoid(model.decode(mean)), rtol=1e-6)


def test_samples_are_decoded_draws_of_the_prior():
    model = build(lambda: VAE(DATA, widths=(4,), latent=Z, rngs=nnx.Rngs(0)))
    found = ELBO().sample(model, DATA, KEY, 5)
    np.testing.assert_array_equal(found, model.expected(model.decode(jax.random.normal(KEY, (5, Z)))))
    assert (found != ELBO().sample(model, DATA, jax.random.key(1), 5)).all()
