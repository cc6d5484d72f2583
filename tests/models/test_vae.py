"""The variational autoencoder: what it draws, what it gives, and which data it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, build

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec
from bigtrain.models.vae import VAE


def spec(low=0.0, high=1.0, **extra):
    return Spec("made up", {"inputs": Field((2, 3), "float32", "features", low=low, high=high), **extra}, {"train": 8})


def vae(data, **options):
    return build(lambda: VAE(data, **options, rngs=nnx.Rngs(0)))


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)


def test_the_code_is_mean_plus_deviation_times_standard_normal_noise():
    model = vae(spec(), widths=(5,), latent=2)
    model.code.bias[...] = jnp.asarray([1.0, -2.0, 0.5, -1.0])  # means, then log variances
    model.code.kernel[...] = jnp.zeros_like(model.code.kernel[...])
    seen = []
    model.decode = lambda codes: seen.append(np.asarray(codes)) or codes
    result = model(jnp.zeros((20_000, 2, 3)))
    np.testing.assert_allclose(result["mean"][0], [1.0, -2.0])
    np.testing.assert_allclose(result["log_variance"][0], [0.5, -1.0])
    deviation = np.exp([0.25, -0.5])
    np.testing.assert_allclose(seen[0].mean(0), [1.0, -2.0], atol=4 * deviation.max() / np.sqrt(20_000))
    np.testing.assert_allclose(seen[0].std(0), deviation, rtol=4 / np.sqrt(2 * 20_000))


def test_encoder_and_decoder_are_mirrored_and_equal_their_formula():
    model = vae(spec(), widths=(5, 4), latent=2, activation="tanh")
    inputs = drawn(3, 2, 3)

    def through(values, *stack):
        for one in stack[:-1]:
            values = np.tanh(values @ one.kernel[...] + one.bias[...])
        return values @ stack[-1].kernel[...] + stack[-1].bias[...]

    code = through(inputs.reshape(3, 6), *model.encoder, model.code)
    mean, log_variance = model.encode(inputs)
    np.testing.assert_allclose(np.concatenate([mean, log_variance], axis=1), code, rtol=1e-5, atol=1e-6)
    expected = through(code[:, :2], *model.decoder, model.output).reshape(3, 2, 3)
    np.testing.assert_allclose(model.decode(mean), expected, rtol=1e-5, atol=1e-6)
    assert [one.kernel.shape for one in (*model.decoder, model.output)] == [(2, 4), (4, 5), (5, 6)]


def test_the_expected_image_is_the_mean_of_the_likelihood():
    outputs = jnp.asarray([-2.0, 0.0, 3.0])
    bernoulli = vae(spec(), latent=2, widths=())
    gaussian = vae(spec(-9, 9), latent=2, widths=(), likelihood="gaussian")
    np.testing.assert_allclose(bernoulli.expected(outputs), 1 / (1 + np.exp(-np.asarray(outputs))), rtol=1e-6)
    np.testing.assert_array_equal(gaussian.expected(outputs), outputs)


def test_beta_is_an_argument_of_the_program():
    recipe, parts = apart(lambda: VAE(spec(), widths=(), latent=2, rngs=nnx.Rngs(0)))
    assert recipe.fields == ("beta",)
    run = jax.jit(lambda beta: recipe.merge(parts, {"beta": beta}, jax.random.key(0), training=True)(drawn(2, 2, 3)))
    assert [float(run(beta)["beta"]) for beta in (0.0, 4.0)] == [0.0, 4.0]
    assert run._cache_size() == 1


def test_noise_follows_the_key_and_is_drawn_in_evaluation_too():
    recipe, parts = apart(lambda: VAE(spec(), widths=(), latent=2, rngs=nnx.Rngs(0)))
    inputs = drawn(2, 2, 3)
    for training in (True, False):
        first, again, other = (
            recipe.merge(parts, {"beta": 1.0}, jax.random.key(seed), training=training)(inputs)["outputs"]
            for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0), (-0.001, 0.5)])
def test_inputs_outside_the_unit_interval_need_the_gaussian_likelihood(low, high):
    with pytest.raises(ConfigError) as caught:
        VAE(spec(low, high), rngs=nnx.Rngs(0))
    assert str(caught.value) == (
        f"model.likelihood: bernoulli needs inputs within [0, 1], and those of data 'made up' lie within "
        f"[{low:g}, {high:g}]\n  set model.likelihood=gaussian"
    )
    vae(spec(low, high), likelihood="gaussian", widths=())


def test_tokens_and_lengths_are_refused():
    with pytest.raises(ConfigError, match="VAE can't read the lengths"):
        VAE(spec(lengths=Field((), "int32", "length")), rngs=nnx.Rngs(0))
    with pytest.raises(ConfigError, match="VAE reads real values, and data 'words' has tokens"):
        VAE(Spec("words", {"inputs": Field((4,), "int32", "tokens")}, {"train": 8}), rngs=nnx.Rngs(0))
