"""Convolution and pooling: against `lax.conv`, its own gradients, finite differences and plain loops."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from tiny import assert_gradient, float64

from bigtrain.models import convolution_rows
from bigtrain.models.convolution import LAYOUTS, Convolution, _written_out, convolve, same, windows
from bigtrain.models.pooling import pool, pooled_size, reduced, shrunk

RANDOM = np.random.default_rng(0)
CASES = [
    ((9,), (3,), (1,), "SAME"),
    ((10,), (4,), (3,), "VALID"),
    ((8, 7), (3, 3), (1, 1), "SAME"),
    ((8, 7), (5, 2), (2, 3), "SAME"),
    ((9, 11), (4, 3), (2, 2), "VALID"),
    ((8, 8), (1, 1), (2, 2), "SAME"),  # a shortcut: some values are under no window
    ((7, 7), (3, 3), (3, 2), ((2, 1), (0, 4))),
    ((5, 5), (2, 2), (1, 1), ((3, 3), (2, 2))),  # more padding than window
]


def drawn(*shape, dtype="float32"):
    return jnp.asarray(RANDOM.normal(size=shape), dtype)


def pads_of(sizes, window, strides, padding):
    pads = lax.padtype_to_pads(sizes, window, strides, padding) if isinstance(padding, str) else padding
    return tuple((int(before), int(after)) for before, after in pads)


@pytest.fixture(params=["direct", "by rows", "by pieces of rows", "by uneven pieces"])
def way(request, monkeypatch):
    """Every test that takes it runs in each of the CPU's ways to convolve."""
    monkeypatch.setattr(convolution_rows, "pays", lambda *_: request.param != "direct")
    narrowest = {"by pieces of rows": 1, "by uneven pieces": 12}.get(request.param, 10**6)
    monkeypatch.setattr(convolution_rows, "NARROWEST", narrowest)
    return request.param


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("sizes", "window", "strides", "padding"), CASES, ids=str)
def test_output_and_gradients_equal_those_of_lax(sizes, window, strides, padding):
    values, kernel = drawn(2, *sizes, 3), drawn(*window, 3, 4)
    pads = pads_of(sizes, window, strides, padding)

    def expected(values, kernel):
        return lax.conv_general_dilated(values, kernel, strides, padding, dimension_numbers=LAYOUTS[len(sizes)])

    found, pull = jax.vjp(lambda v, k: convolve(v, k, strides, pads), values, kernel)
    exact, pull_exact = jax.vjp(expected, values, kernel)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    grads = drawn(*exact.shape)
    for own, lax_own in zip(pull(grads), pull_exact(grads), strict=True):
        np.testing.assert_allclose(own, lax_own, rtol=1e-4, atol=1e-5)


def test_on_the_cpu_the_backward_convolutions_are_written_out():
    """Else the test above compares `lax` with itself, and loops are slow."""
    values, kernel = drawn(2, 8, 8, 12), drawn(3, 3, 12, 16)
    pull = jax.jit(lambda v, k, g: jax.vjp(lambda v, k: convolve(v, k, (1, 1), ((1, 1), (1, 1))), v, k)[1](g))
    text = pull.lower(values, kernel, drawn(2, 8, 8, 16)).as_text()
    layouts = re.findall(r"dim_numbers = (\[.*?\])x(\[.*?\])", text)
    assert layouts == [("[b, 0, 1, f]", "[0, 1, i, o]")] * 2


def test_rows_are_cut_into_pieces_that_are_not_too_narrow():
    """28 places of 6 numbers, 10 of 16, 32 of 64, 29 of 6; a row of fewer than 128 numbers stays whole."""
    found = [convolution_rows.pieces(*given) for given in ((28, 6), (10, 16), (32, 64), (29, 6), (8, 4), (7, 16))]
    assert found == [(2, 14), (2, 5), (32, 1), (2, 15), (1, 8), (1, 7)]


@pytest.mark.parametrize(
    ("sizes", "window", "channels", "paid"),
    [((28, 28), (5, 5), (1, 6), True), ((14, 14), (5, 5), (6, 16), True), ((32, 32), (3, 3), (3, 64), True),
     ((8, 8), (3, 3), (12, 16), False), ((96, 96), (3, 3), (3, 16), False), ((40,), (5,), (1, 6), False)],
)  # fmt: skip
def test_rows_are_multiplied_where_that_was_faster(sizes, window, channels, paid):
    """LeNet's two convolutions, a VGG's first; not long rows, many channels, or sequences (benchmarks/LOG.md)."""
    values, kernel = drawn(2, *sizes, channels[0]), drawn(*window, *channels)
    pads = ((2, 2),) * len(sizes)
    text = jax.jit(lambda v, k: convolve(v, k, (1,) * len(sizes), pads)).lower(values, kernel).as_text()
    assert ("stablehlo.convolution" not in text) == paid


@pytest.mark.usefixtures("way")
def test_gradients_agree_with_finite_differences():
    with float64():
        weights = drawn(2, 3, 4, 3, dtype="float64")

        def loss(given):
            return jnp.sum(weights * jnp.square(convolve(given["values"], given["kernel"], (2, 2), ((1, 1), (1, 2)))))

        given = {"kernel": drawn(3, 2, 2, 3, dtype="float64"), "values": drawn(2, 5, 6, 2, dtype="float64")}
        assert_gradient(jax.jit(loss), given, jax.jit(jax.grad(loss))(given))


@pytest.mark.usefixtures("way")
def test_gradients_of_gradients_exist():
    values, kernel = drawn(1, 5, 5, 1), drawn(3, 3, 1, 1)

    def own(values, kernel):
        return convolve(values, kernel, (1, 1), ((0, 0), (0, 0)))

    def plain(values, kernel):
        return lax.conv_general_dilated(values, kernel, (1, 1), "VALID", dimension_numbers=LAYOUTS[2])

    def length(kernel, convolved):
        return jnp.sum(jnp.square(jax.grad(lambda v: jnp.sum(jnp.tanh(convolved(v, kernel))))(values)))

    np.testing.assert_allclose(jax.grad(length)(kernel, own), jax.grad(length)(kernel, plain), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("way")
def test_products_of_the_hessian_with_a_vector():
    """Forwards over backwards, as curvature is usually asked for; against backwards over backwards."""
    values, kernel, direction = drawn(2, 8, 8, 2), drawn(3, 3, 2, 2), drawn(3, 3, 2, 2)

    def loss(kernel):
        return (convolve(values, kernel, (1, 1), ((1, 1), (1, 1))) ** 3).sum()

    forwards = jax.jvp(jax.grad(loss), (kernel,), (direction,))[1]
    backwards = jax.grad(lambda kernel: jnp.vdot(jax.grad(loss)(kernel), direction))(kernel)
    np.testing.assert_allclose(forwards, backwards, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("way")
def test_gradients_of_single_examples_by_vmap():
    values, kernel = drawn(4, 6, 6, 2), drawn(3, 3, 2, 3)

    def one(kernel, example):
        return jnp.sum(jnp.square(convolve(example[None], kernel, (2, 2), ((1, 1), (1, 1)))))

    together = jax.vmap(jax.grad(one), (None, 0))(kernel, values)
    for at in range(4):
        np.testing.assert_allclose(together[at], jax.grad(one)(kernel, values[at]), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("way")
def test_bfloat16_stays_bfloat16_forwards_and_backwards():
    values, kernel = drawn(2, 6, 6, 2, dtype="bfloat16"), drawn(3, 3, 2, 3, dtype="bfloat16")

    ones = (1, 1), ((1, 1), (1, 1))
    both = jax.grad(lambda v, k: jnp.sum(convolve(v, k, *ones)), (0, 1))
    assert [leaf.dtype for leaf in jax.eval_shape(both, values, kernel)] == [jnp.dtype("bfloat16")] * 2
    text = str(jax.make_jaxpr(functools.partial(_written_out, *ones))(values, kernel, convolve(values, kernel, *ones)))
    assert "f32" not in text


def test_the_layer_computes_in_the_type_of_its_kernel():
    layer = Convolution(2, 3, (3,), rngs=nnx.Rngs(0))
    layer.kernel, layer.bias = (nnx.Param(one[...].astype("bfloat16")) for one in (layer.kernel, layer.bias))
    assert layer(drawn(2, 6, 2)).dtype == jnp.bfloat16


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
def test_same_padding_gives_a_window_for_each_stride(window, stride):
    for size in range(1, 12):
        before, after = same(size, window, stride)
        found = (size + before + after - window) // stride + 1
        assert found == -(-size // stride) == windows(size, window, stride, "same")


def test_the_layer_is_that_of_flax():
    own = Convolution(2, 4, (3, 3), stride=2, padding=1, rngs=nnx.Rngs(0))
    flax = nnx.Conv(2, 4, (3, 3), strides=2, padding=1, rngs=nnx.Rngs(0))
    own.bias[...] = drawn(4)
    flax.kernel[...], flax.bias[...] = own.kernel[...], own.bias[...]
    values = drawn(2, 7, 7, 2)
    np.testing.assert_allclose(own(values), flax(values), rtol=1e-5, atol=1e-5)


def test_the_kernel_starts_with_the_variance_asked_for():
    for gain in (1.0, 2.0):
        kernel = Convolution(16, 64, (3, 3), gain=gain, rngs=nnx.Rngs(0)).kernel[...]
        np.testing.assert_allclose(kernel.var(), gain / (9 * 16), rtol=0.05)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(
    ("size", "window", "stride"), [(8, 2, 2), (7, 2, 2), (15, 3, 2), (2, 3, 2), (1, 2, 2), (5, 1, 3)]
)
def test_pooling_takes_what_exists_in_each_window(kind, size, window, stride):
    values = drawn(2, size, size, 3)
    found = pool(values, kind, window, stride=stride)
    starts = range(0, max(size - max(window - stride, 0), 1), stride)
    assert found.shape == (2, len(starts), len(starts), 3) == (2, *(pooled_size(size, window, stride, False),) * 2, 3)
    take = np.max if kind == "max" else np.mean
    for i, top in enumerate(starts):
        for j, left in enumerate(starts):
            expected = take(np.asarray(values[:, top : top + window, left : left + window]), axis=(1, 2))
            np.testing.assert_allclose(found[:, i, j], expected, rtol=1e-5, atol=1e-6)


def test_centred_pooling_is_that_of_resnet():
    values = drawn(1, 8, 8, 2)
    around = ((0, 0), (1, 0), (1, 0), (0, 0))
    expected = lax.reduce_window(values, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), around)
    np.testing.assert_array_equal(pool(values, "max", 3, stride=2, centred=True), expected)
    assert pooled_size(112, 3, 2, True) == 56


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("centred", [False, True])
def test_a_padded_sequence_is_pooled_as_if_alone(kind, centred):
    values = drawn(1, 11, 2) - 5.0  # below zero: a padded zero would be the greatest
    for length in (1, 2, 6, 11):
        valid = (jnp.arange(11) < length)[None, :, None]
        padded = pool(values, kind, 3, stride=2, centred=centred, valid=valid)
        alone = pool(values[:, :length], kind, 3, stride=2, centred=centred)
        number = pooled_size(length, 3, 2, centred)
        np.testing.assert_allclose(padded[:, :number], alone, rtol=1e-5)
        assert int(pooled_size(jnp.asarray([length]), 3, 2, centred)[0]) == number == alone.shape[1]


def test_the_gradient_of_pooling_agrees_with_finite_differences():
    with float64():
        values, weights = drawn(2, 5, 5, 2, dtype="float64"), drawn(2, 3, 3, 2, dtype="float64")
        for kind in ("max", "average"):

            def loss(given, kind=kind):
                return jnp.sum(weights * pool(given["values"], kind, 2))

            assert_gradient(jax.jit(loss), {"values": values}, jax.jit(jax.grad(loss))({"values": values}))


def test_reducing_ignores_what_does_not_exist():
    values = drawn(2, 5, 3) - 4.0
    valid = (jnp.arange(5) < jnp.asarray([3, 5])[:, None])[..., None]
    np.testing.assert_allclose(reduced(values, "average", valid)[0], values[0, :3].mean(0), rtol=1e-5)
    np.testing.assert_allclose(reduced(values, "max", valid)[0], values[0, :3].max(0), rtol=1e-6)
    assert reduced(values, "flatten").shape == (2, 15)


def test_a_large_map_shrinks_to_means_of_cells_and_a_small_one_stays():
    values = drawn(2, 14, 5, 3)
    found = shrunk(values, 7)
    assert found.shape == (2, 7, 5, 3)
    np.testing.assert_allclose(found[:, 2], values[:, 4:6].mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shrunk(values[:, :5], 2)[:, :, 0].shape, (2, 2, 3))
