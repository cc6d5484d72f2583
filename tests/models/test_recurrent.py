"""A recurrent layer equals Flax's cells, and what it must not see has no influence."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, assert_gradient, build, eager, float64

from bigtrain.models.recurrent import GATES, RecurrentLayer, _scanned, recur
from bigtrain.models.split import Parts

B, T, D, H = 3, 7, 4, 5
CELLS = ("simple", "gru", "lstm")
EACH_CELL_AND_WAY = pytest.mark.parametrize(("cell", "reverse"), [("simple", False), ("gru", True), ("lstm", False)])


def layer_of(cell, reverse=False):
    """A layer whose every weight, biases too, is random."""
    return build(lambda: RecurrentLayer(D, H, cell=cell, reverse=reverse, rngs=nnx.Rngs(0)), seed=1)


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def alone(layer, inputs, row, first, beyond):
    """One sequence by itself, step by step in Python: the hidden states [steps, H] and the last one [H]."""
    hidden, last = eager(layer, inputs[row : row + 1, first:beyond])
    return hidden[0], last[0]


def flax_rnn(layer, **options):
    """`nnx.RNN` over Flax's own cell with the layer's weights."""
    kernel, bias, recurrent = layer.input.kernel[...], layer.input.bias[...], layer.recurrent[...]
    if layer.cell == "simple":
        cell = nnx.SimpleCell(D, H, rngs=nnx.Rngs(0))
        cell.dense_i.kernel[...], cell.dense_i.bias[...], cell.dense_h.kernel[...] = kernel, bias, recurrent
    elif layer.cell == "gru":
        cell = nnx.GRUCell(D, H, rngs=nnx.Rngs(0))
        cell.dense_i.kernel[...], cell.dense_i.bias[...], cell.dense_h.kernel[...] = kernel, bias, recurrent
    else:
        cell = nnx.LSTMCell(D, H, rngs=nnx.Rngs(0))
        for at, gate in enumerate("ifgo"):
            part = slice(at * H, (at + 1) * H)
            getattr(cell, {"f": "if_"}.get(gate, f"i{gate}")).kernel[...] = kernel[:, part]
            getattr(cell, f"h{gate}").kernel[...] = recurrent[:, part]
            getattr(cell, f"h{gate}").bias[...] = bias[part]
    return nnx.RNN(cell, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_it_equals_flax(cell, reverse):
    layer = layer_of(cell, reverse)
    if cell == "gru":  # Flax's cell has no bias inside the reset gate; the next test has it
        layer.recurrent_bias[...] = jnp.zeros(H)
    inputs = drawn(B, T, D)
    hidden, last = layer(inputs)
    expected = flax_rnn(layer, reverse=reverse, keep_order=reverse)(inputs)
    np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(last, hidden[:, 0 if reverse else -1])


def test_the_gru_has_its_second_bias_inside_the_reset_gate():
    """Against the equations in NumPy: n = tanh(W x + b + r * (U h + b_hn)), as in PyTorch and cuDNN."""
    layer, inputs = layer_of("gru"), drawn(B, T, D)
    kernel, bias, recurrent, inner = (
        np.asarray(part[...], np.float64)
        for part in (layer.input.kernel, layer.input.bias, layer.recurrent, layer.recurrent_bias)
    )
    assert np.abs(inner).max() > 0.1
    hidden = np.zeros((B, H))
    for at in range(T):
        ours = np.asarray(inputs[:, at], np.float64) @ kernel + bias
        theirs = hidden @ recurrent
        reset, update = (1 / (1 + np.exp(-(ours + theirs)[:, part])) for part in (slice(0, H), slice(H, 2 * H)))
        new = np.tanh(ours[:, 2 * H :] + reset * (theirs[:, 2 * H :] + inner))
        hidden = (1 - update) * new + update * hidden
    np.testing.assert_allclose(layer(inputs)[1], hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_start_as_documented(cell):
    layer = RecurrentLayer(D, H, cell=cell, rngs=nnx.Rngs(0))
    for block in np.split(np.asarray(layer.recurrent[...]), layer.recurrent.shape[1] // H, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-5)
    expected = np.zeros(layer.input.bias.shape)
    if cell == "lstm":
        expected[H : 2 * H] = 1.0
    np.testing.assert_array_equal(layer.input.bias[...], expected)


@pytest.mark.parametrize("cell", CELLS)
def test_backward_is_forward_over_the_flipped_sequence(cell):
    inputs = drawn(B, T, D)
    hidden, last = layer_of(cell, reverse=True)(inputs)
    flipped, flipped_last = layer_of(cell)(inputs[:, ::-1])
    np.testing.assert_allclose(hidden, flipped[:, ::-1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(last, flipped_last, rtol=1e-6, atol=1e-6)


@EACH_CELL_AND_WAY
def test_a_padded_sequence_equals_the_sequence_alone(cell, reverse):
    layer, inputs, lengths = layer_of(cell, reverse), drawn(B, T, D), (7, 3, 1)
    valid = jnp.arange(T) < jnp.asarray(lengths)[:, None]
    filled = jax.jit(lambda filler: layer(jnp.where(valid[..., None], inputs, filler), valid=valid))
    (hidden, last), (other_hidden, other_last) = filled(1e4), filled(-7.0)
    np.testing.assert_array_equal(hidden, other_hidden)  # what the padding holds doesn't change one bit
    np.testing.assert_array_equal(last, other_last)
    for row, length in enumerate(lengths):
        expected, expected_last = alone(layer, inputs, row, 0, length)
        np.testing.assert_allclose(hidden[row, :length], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(last[row], expected_last, rtol=1e-5, atol=1e-6)


PACKED = ((1, 1, 1, 2, 2, 2, 2), (5, 3, 3, 3, 3, 3, 9), (0, 0, 0, 0, 0, 0, 0))


def parts_of(numbers):
    """The (first, beyond) bounds of each packed sequence."""
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(numbers)]
    return list(itertools.pairwise(cuts))


@EACH_CELL_AND_WAY
def test_packed_sequences_equal_each_alone(cell, reverse):
    layer, inputs = layer_of(cell, reverse), drawn(B, T, D)
    hidden, _ = layer(inputs, segments=jnp.asarray(PACKED))
    for row, numbers in enumerate(PACKED):
        for first, beyond in parts_of(numbers):
            expected, _ = alone(layer, inputs, row, first, beyond)
            np.testing.assert_allclose(hidden[row, first:beyond], expected, rtol=1e-5, atol=1e-6)


@EACH_CELL_AND_WAY
def test_packed_and_padded_equals_each_alone_whatever_number_the_padding_has(cell, reverse):
    layer, inputs, lengths = layer_of(cell, reverse), drawn(2, T, D), (5, 3)
    valid = jnp.arange(T) < jnp.asarray(lengths)[:, None]
    run = jax.jit(lambda segments: layer(inputs, valid=valid, segments=segments))
    results = [run(jnp.asarray([[1, 1, 2, 2, 2, x, x], [1, 2, 2, x, x, x, 4]])) for x in (0, 2, 8)]
    for row, parts in enumerate([[(0, 2), (2, 5)], [(0, 1), (1, 3)]]):
        for first, beyond in parts:
            expected, expected_last = alone(layer, inputs, row, first, beyond)
            for hidden, last in results:
                np.testing.assert_allclose(hidden[row, first:beyond], expected, rtol=1e-5, atol=1e-6)
                if (first, beyond) == (parts[0] if reverse else parts[-1]):  # the sequence that is read last
                    np.testing.assert_allclose(last[row], expected_last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_an_example_does_not_depend_on_the_rest_of_the_batch(cell):
    layer, inputs = layer_of(cell), drawn(B, T, D)
    whole = layer(inputs)[0]
    for row in range(B):
        np.testing.assert_allclose(whole[row], alone(layer, inputs, row, 0, T)[0], rtol=1e-5, atol=1e-6)


@EACH_CELL_AND_WAY
def test_gradients_agree_with_finite_differences(cell, reverse):
    valid, segments = jnp.arange(T) < jnp.asarray([7, 4, 2])[:, None], jnp.asarray(PACKED)
    with float64():
        recipe, parts = apart(
            lambda: RecurrentLayer(D, H, cell=cell, reverse=reverse, rngs=nnx.Rngs(0)), dtype="float64"
        )
        random = np.random.default_rng(5)
        weights = random.normal(size=(B, T, H))
        arrays = {**parts.params, "inputs": jnp.asarray(random.normal(size=(B, T, D)))}

        def loss(arrays):
            layer = recipe.merge(Parts(arrays, parts.rest), {}, jax.random.key(0), training=True)
            hidden, last = layer(arrays["inputs"], valid=valid, segments=segments)
            return jnp.sum(hidden * weights) + jnp.sum(jnp.square(last))

        run = jax.jit(jax.value_and_grad(loss))
        assert_gradient(lambda arrays: run(arrays)[0], arrays, run(arrays)[1])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["simple", "gru", "lstm"])
def test_the_gradient_taken_at_once_is_that_of_the_scan(cell, reverse):
    """Also where steps don't exist and where the state restarts."""
    rng = np.random.default_rng(0)
    gates = GATES[cell]
    projected, weights = rng.normal(size=(6, 4, gates * 3)), rng.normal(size=(3, gates * 3))
    bias = jnp.asarray(rng.normal(size=3)) if cell == "gru" else None
    initial = tuple(jnp.asarray(rng.normal(size=(4, 3))) for _ in range(2 if cell == "lstm" else 1))
    exists = jnp.arange(6)[:, None] < jnp.array([6, 1, 4, 3])
    starts = jnp.zeros((6, 4), bool).at[2, 0].set(True).at[1, 2].set(True)
    look = rng.normal(size=(6, 4, 3))

    def loss(run, where, *given):
        carry, hidden = run(where, *given)
        return jnp.sum(hidden * look) + sum(jnp.sum(part * part) for part in carry)

    def at_once(where, projected, weights, bias, initial):
        return recur(cell, reverse, projected, weights, bias, initial, where)

    def scanned(where, projected, weights, bias, initial):
        return _scanned(cell, reverse, weights, where, projected, None, bias, initial)

    given = (jnp.asarray(projected), jnp.asarray(weights), bias, initial)
    for where in ((None, None), (exists, None), (None, starts), (exists, starts & exists)):
        found, expected = (
            jax.jit(jax.grad(partial(loss, run, where), argnums=(0, 1, 2, 3)))(*given) for run in (at_once, scanned)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)
