"""Batch norm: its formula, its statistics over devices and over microbatches, and masks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from tiny import NUMBERS, apart

from bigtrain.data.spec import Field, Spec
from bigtrain.models.batch_norm import BatchNorm, pooled
from bigtrain.models.cnn import CNN
from bigtrain.models.split import split
from bigtrain.tasks.classification import Classification
from bigtrain.train.step import mean_gradient

RANDOM = np.random.default_rng(0)
B, T, C = 16, 6, 3


def drawn(*shape):
    return jnp.asarray(RANDOM.normal(size=shape) * 2 + 1, jnp.float32)


def made(**options):
    norm = BatchNorm(C, **options, rngs=nnx.Rngs(0))
    norm.scale[...], norm.bias[...] = drawn(C), drawn(C)
    return norm


def test_training_normalizes_by_the_batch_and_evaluation_by_the_running_statistics():
    norm, values = made(momentum=0.7), drawn(B, T, C)
    mean, variance = np.asarray(values).mean((0, 1)), np.asarray(values).var((0, 1))
    scale, bias = np.asarray(norm.scale[...]), np.asarray(norm.bias[...])
    expected = (values - mean) / np.sqrt(variance + 1e-5) * scale + bias
    np.testing.assert_allclose(norm(values), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], 0.3 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.7 + 0.3 * variance, rtol=1e-5)
    norm.eval()
    before = np.asarray(norm.mean[...])
    expected = (values - before) / np.sqrt(np.asarray(norm.var[...]) + 1e-5) * scale + bias
    np.testing.assert_allclose(norm(values), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], before)


def test_it_is_that_of_flax():
    own, flax, values = made(), nnx.BatchNorm(C, momentum=0.9, rngs=nnx.Rngs(0)), drawn(B, T, C)
    flax.scale[...], flax.bias[...] = own.scale[...], own.bias[...]
    np.testing.assert_allclose(own(values), flax(values), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own.mean[...], flax.mean[...], rtol=1e-5)
    np.testing.assert_allclose(own.var[...], flax.var[...], rtol=1e-4)


def test_what_is_not_valid_counts_in_no_statistic():
    lengths = jnp.asarray(RANDOM.integers(1, T + 1, B))
    valid = (jnp.arange(T) < lengths[:, None])[..., None]
    norm, values = made(), drawn(B, T, C)
    norm(jnp.where(valid, values, 1e6), valid)
    existing = np.asarray(values)[np.asarray(valid)[..., 0]]
    np.testing.assert_allclose(norm.mean[...], 0.1 * existing.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * existing.var(0), rtol=1e-5)
    assert float(norm.count[...]) == len(existing)


def test_a_bfloat16_batch_stays_one_and_its_statistics_are_f32():
    recipe, parts = split(made())
    values = (drawn(256, C) + 100.0).astype(jnp.bfloat16)
    model = recipe.merge(parts, {}, jax.random.key(0), training=True)
    assert model(values).dtype == jnp.bfloat16
    rest = recipe.parts(model).rest
    assert {leaf.dtype for leaf in rest.values()} == {jnp.dtype("float32")}
    np.testing.assert_allclose(rest["var"], 0.9 + 0.1 * np.asarray(values, np.float32).var(0), rtol=1e-4)


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (1, 9, 2, 4)])
def test_statistics_of_microbatches_make_those_of_the_batch(sizes):
    values, edges = drawn(16, C), np.cumsum((0, *sizes))
    kept = 0.9
    start_mean, start_var = drawn(C), jnp.abs(drawn(C))

    def after(batch):
        return kept * start_mean + (1 - kept) * batch.mean(0), kept * start_var + (1 - kept) * batch.var(0)

    parts = [after(values[a:b]) for a, b in itertools.pairwise(edges)]
    means, variances = (jnp.stack(one) for one in zip(*parts, strict=True))
    mean, variance, count = pooled(means, variances, jnp.asarray(sizes, jnp.float32), kept)
    expected = after(values)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5)
    np.testing.assert_allclose(variance, expected[1], rtol=1e-5)
    assert float(count) == 16
    averaged = float(jnp.abs(variances.mean(0) - expected[1]).max())
    assert averaged > 1e-2, "without the variance between the means it would be wrong"


FIELDS = {
    "inputs": Field((T, 2), "float32", "features"),
    "targets": Field((), "int32", "label"),
    "lengths": Field((), "int32", "length"),
}
SPEC = Spec("made up", FIELDS, {"train": 8}, ("a", "b", "c"))
BATCH = {
    "inputs": drawn(B, T, 2),
    "targets": jnp.asarray(RANDOM.integers(0, 3, B)),
    "lengths": jnp.asarray(RANDOM.integers(1, T + 1, B)),
}


def cnn(stages):
    return apart(lambda: CNN(SPEC, stages=stages, head=(), reduce="average", norm="batch", rngs=nnx.Rngs(0)))


def step(recipe, parts, batch, accumulate=1):
    gradient = mean_gradient(recipe, Classification(), NUMBERS, dtype=jnp.dtype("float32"), accumulate=accumulate)
    return jax.jit(gradient)(parts.params, parts.rest, batch, jax.random.key(0))


def test_sharded_over_eight_devices_equals_unsharded():
    """Gradients and running statistics of a network with two norms and uneven lengths."""
    recipe, parts = cnn(({"channels": 4}, {"channels": 4}))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split_up = jax.device_put(BATCH, NamedSharding(mesh, PartitionSpec("data")))
    grads, rest, metrics = step(recipe, parts, BATCH)
    grads_8, rest_8, metrics_8 = step(recipe, parts, split_up)
    for name, value in {**grads, **rest}.items():
        np.testing.assert_allclose({**grads_8, **rest_8}[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(metrics_8["loss"].total, metrics["loss"].total, rtol=1e-5)
    assert float(rest["levels.0.blocks.0.units.0.norm.count"]) == float(BATCH["lengths"].sum())
    assert set(rest) == set(recipe.statistics)


def test_running_statistics_after_microbatches_are_those_of_the_whole_batch():
    """Of the first norm: what the second sees was normalized by each microbatch's own statistics."""
    recipe, parts = cnn(({"channels": 4},))
    _, whole, _ = step(recipe, parts, BATCH)
    for accumulate in (2, 8):
        _, pieces, _ = step(recipe, parts, BATCH, accumulate)
        for name, value in whole.items():
            np.testing.assert_allclose(pieces[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
