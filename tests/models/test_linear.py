"""The linear layer: that of Flax, and its gradients those of JAX."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bigtrain.models import linear
from bigtrain.models.linear import Linear, product

RANDOM = np.random.default_rng(0)


def drawn(*shape, dtype="float32"):
    return jnp.asarray(RANDOM.normal(size=shape), dtype)


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_layer_of_flax(bias):
    own, theirs = (kind(5, 3, use_bias=bias, rngs=nnx.Rngs(0)) for kind in (Linear, nnx.Linear))
    pairs = zip(*(jax.tree.leaves(nnx.state(layer)) for layer in (own, theirs)), strict=True)
    for ours, other in pairs:  # the values alone: ours also say what their dimensions are called
        np.testing.assert_array_equal(ours, other)
    inputs = drawn(2, 4, 5)
    np.testing.assert_allclose(own(inputs), theirs(inputs), rtol=1e-6)
    for given, kernel in (("float32", "bfloat16"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")):
        for layer in (own, theirs):
            layer.kernel = nnx.Param(layer.kernel[...].astype(kernel))
        assert own(inputs.astype(given)).dtype == theirs(inputs.astype(given)).dtype


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("outputs", [3, 5, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_those_of_the_product(shape, outputs, dtype):
    """Whichever factor is turned round."""
    values, kernel = drawn(*shape, dtype=dtype), drawn(5, outputs, dtype=dtype)
    found, pull = jax.vjp(product, values, kernel)
    exact, pull_exact = jax.vjp(jnp.matmul, values, kernel)
    np.testing.assert_array_equal(found, exact)
    grads = drawn(*exact.shape, dtype=dtype)
    for own, other in zip(jax.jit(pull)(grads), jax.jit(pull_exact)(grads), strict=True):
        assert (own.shape, own.dtype) == (other.shape, other.dtype)
        tolerance = 1e-5 if dtype == "float32" else 2e-2
        np.testing.assert_allclose(
            *(np.asarray(one, np.float64) for one in (own, other)), rtol=tolerance, atol=tolerance
        )


def test_gradients_of_single_examples_by_vmap():
    values, kernel = drawn(4, 2, 5), drawn(5, 3)
    one = jax.grad(lambda kernel, example: jnp.sum(jnp.square(product(example, kernel))))
    together = jax.vmap(one, (None, 0))(kernel, values)
    for at in range(4):
        np.testing.assert_allclose(together[at], one(kernel, values[at]), rtol=1e-5)


def test_on_the_cpu_the_smaller_factor_is_turned_round():
    def text(features, outputs):
        grad = jax.jit(jax.grad(lambda kernel, values: jnp.sum(jnp.square(product(values, kernel)))))
        return grad.lower(drawn(features, outputs), drawn(64, features)).as_text()

    assert "optimization_barrier" in text(16, 4)
    assert "optimization_barrier" not in text(4, 16)


def test_products_can_be_kept_when_the_rest_is_computed_again():
    """What `remat: dots` of a Transformer asks for: the outputs of both layers are kept, the sines are not."""
    kernels = [drawn(5, 6), drawn(6, 7)]
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    layers = jax.checkpoint(lambda values, a, b: jnp.sin(product(jnp.sin(product(values, a)), b)), policy=policy)
    _, pull = jax.vjp(lambda values: layers(values, *kernels), drawn(4, 5))
    kept = {leaf.shape for leaf in jax.tree.leaves(pull)}
    assert {(4, 6), (4, 7)} <= kept


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_together_are_the_layers_and_so_are_their_gradients(bias, dtype):
    layers = [Linear(6, size, use_bias=bias, rngs=nnx.Rngs(size)) for size in (4, 2, 3)]
    graphdef, state = nnx.split(layers)
    state = jax.tree.map(lambda leaf: leaf.astype(dtype), state)
    values, looks = drawn(5, 2, 6, dtype=dtype), [drawn(5, 2, size) for size in (4, 2, 3)]

    def loss(state, values, apply):
        found = apply(values, nnx.merge(graphdef, state))
        return sum(jnp.sum(jnp.sin(part) * look) for part, look in zip(found, looks, strict=True)), found

    each = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
    found = each(state, values, linear.together)
    expected = each(state, values, lambda values, layers: [layer(values) for layer in layers])
    tolerance = 1e-5 if dtype == "float32" else 4e-2
    for own, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (own.shape, own.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(
            *(np.asarray(one, np.float64) for one in (own, other)), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(("platform", "products"), [("cpu", 1), ("gpu", 1), ("tpu", 2)])
def test_layers_together_are_one_product_where_that_is_faster(monkeypatch, platform, products):
    monkeypatch.setattr(linear.naming, "target", lambda: SimpleNamespace(platform=platform))
    layers = [Linear(6, size, rngs=nnx.Rngs(size)) for size in (4, 2)]
    traced = jax.make_jaxpr(lambda values: linear.together(values, layers))(drawn(5, 6))
    assert str(traced).count("dot_general") == products


@pytest.mark.parametrize(("platform", "barriers"), [("cuda", 1), ("tpu", 0)])
def test_gradients_of_layers_together_lie_side_by_side_once_on_nvidia_s_gpus(platform, barriers):
    """XLA would put them there for each of the two products that read them."""
    layers = [Linear(6, size, use_bias=False, rngs=nnx.Rngs(size)) for size in (4, 2)]

    def loss(kernels, values):
        return sum(jnp.sum(jnp.sin(part)) for part in linear._joint(values, kernels))

    given = tuple(layer.kernel[...] for layer in layers), drawn(5, 6)
    lowered = jax.jit(jax.grad(loss, (0, 1))).trace(*given).lower(lowering_platforms=(platform,))
    assert lowered.as_text().count("optimization_barrier") == barriers


def test_layers_together_keep_no_kernel_twice():
    layers = [Linear(6, size, rngs=nnx.Rngs(size)) for size in (4, 2)]

    def apply(values):
        return linear.together(values, layers)

    _, pull = jax.vjp(apply, drawn(5, 6))
    kept = {leaf.shape for leaf in jax.tree.leaves(pull)}
    assert {(6, 4), (6, 2)} <= kept
    assert (6, 6) not in kept
