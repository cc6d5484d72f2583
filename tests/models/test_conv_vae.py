"""The convolutional autoencoder: shapes of any image, the answer's parts, and which data it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, assert_gradient, build, float64

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec
from bigtrain.models.conv_vae import ConvVAE
from bigtrain.tasks.elbo import ELBO
from bigtrain.train.step import mean_gradient

SMALL = {"channels": (3, 4), "width": 5, "latent": 2}


def spec(shape=(6, 5), low=0.0, high=1.0, **extra):
    return Spec("made up", {"inputs": Field(shape, "float32", "features", low=low, high=high), **extra}, {"train": 8})


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (9, 6, 3), (11,), (1, 1)])
def test_it_gives_back_images_of_the_shape_it_reads(shape):
    model = build(lambda: ConvVAE(spec(shape), **SMALL, rngs=nnx.Rngs(0)))
    result = model(drawn(4, *shape))
    assert result["outputs"].shape == (4, *shape)
    assert result["mean"].shape == result["log_variance"].shape == (4, 2)
    assert model.decode(jnp.zeros((3, 2))).shape == (3, *shape)


def test_each_pixel_depends_on_the_code_and_the_code_on_each_pixel():
    model, inputs = build(lambda: ConvVAE(spec(), **SMALL, activation="silu", rngs=nnx.Rngs(0))), drawn(1, 6, 5)
    assert (jnp.abs(jax.jit(jax.jacobian(lambda x: model.encode(x)[0]))(inputs)).sum((0, 1, 2)) > 0).all()
    assert (jnp.abs(jax.jit(jax.jacobian(model.decode))(jnp.zeros((1, 2)))).sum((3, 4)) > 0).all()


def test_the_gradient_of_the_bound_agrees_with_finite_differences():
    with float64():
        make = lambda: ConvVAE(spec((4, 3)), channels=(2,), width=3, latent=2, activation="tanh", rngs=nnx.Rngs(0))  # noqa: E731
        recipe, parts = apart(make, dtype="float64")
        batch, key = {"inputs": jnp.asarray(drawn(3, 4, 3), jnp.float64)}, jax.random.key(0)
        gradient = mean_gradient(recipe, ELBO(), {"beta": 1.0}, dtype=jnp.dtype("float64"))
        grads, _, _ = jax.jit(gradient)(parts.params, parts.rest, batch, key)

        @jax.jit
        def loss(params):
            found = gradient(params, parts.rest, batch, key)[2]["loss"]
            return found.total / found.weight

        assert_gradient(loss, parts.params, grads)


def test_in_bfloat16_every_product_is_one():
    recipe, parts = apart(lambda: ConvVAE(spec(), **SMALL, rngs=nnx.Rngs(0)))
    gradient = mean_gradient(recipe, ELBO(), {"beta": 1.0}, dtype=jnp.dtype("bfloat16"))
    shapes = jax.make_jaxpr(gradient)(parts.params, parts.rest, {"inputs": drawn(2, 6, 5)}, jax.random.key(0))
    lines = [line for line in str(shapes).splitlines() if "dot_general[" in line or "conv_general_dilated[" in line]
    assert len(lines) > 10
    assert all(":bf16[" in line for line in lines)


def test_data_that_it_cannot_read_is_refused():
    words = Spec("words", {"inputs": Field((4,), "int32", "tokens")}, {"train": 8})
    for data, options, text in (
        (words, {}, "model: ConvVAE reads real values, and data 'words' has tokens"),
        (spec((2, 2, 2, 2)), {}, "has inputs of shape [2, 2, 2, 2]\n  model=vae flattens any shape"),
        (spec(low=-1.0), {}, "model.likelihood: bernoulli needs inputs within [0, 1]"),
        (spec(lengths=Field((), "int32", "length")), {}, "model: ConvVAE can't read the lengths of data 'made up'"),
        (spec(), {"channels": ()}, "model.channels: is empty\n  model=vae has no convolutions"),
    ):
        with pytest.raises(ConfigError) as caught:
            ConvVAE(data, **options, rngs=nnx.Rngs(0))
        assert text in str(caught.value)
