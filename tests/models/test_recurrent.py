"""A recurrent layer equals Flax's cells, and what it must not see has no influence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bigtrain.models.recurrent import RecurrentLayer

B, T, D, H = 3, 7, 4, 5
CELLS = ("simple", "gru", "lstm")


def layer_of(cell, reverse=False, features=D):
    """A layer whose every weight, biases too, is random."""
    layer = RecurrentLayer(features, H, cell=cell, reverse=reverse, rngs=nnx.Rngs(0))
    random = np.random.default_rng(1)
    for _, weights in nnx.to_flat_state(nnx.state(layer, nnx.Param)):
        weights[...] = jnp.asarray(random.normal(size=weights.shape) * 0.5, jnp.float32)
    return layer


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def alone(layer, inputs, row, first, beyond):
    """One sequence by itself, step by step in Python: the hidden states [steps, H] and the last one [H]."""
    with jax.disable_jit():
        hidden, last = layer(inputs[row : row + 1, first:beyond])
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


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
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
    return list(zip(cuts, cuts[1:], strict=False))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_packed_sequences_equal_each_alone(cell, reverse):
    layer, inputs = layer_of(cell, reverse), drawn(B, T, D)
    hidden, _ = layer(inputs, segments=jnp.asarray(PACKED))
    for row, numbers in enumerate(PACKED):
        for first, beyond in parts_of(numbers):
            expected, _ = alone(layer, inputs, row, first, beyond)
            np.testing.assert_allclose(hidden[row, first:beyond], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
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


@pytest.mark.parametrize(("cell", "reverse"), [("simple", False), ("gru", True), ("lstm", False)])
def test_gradients_agree_with_finite_differences(cell, reverse):
    graphdef, state = nnx.split(layer_of(cell, reverse))
    valid = jnp.arange(T) < jnp.asarray([7, 4, 2])[:, None]
    segments = jnp.asarray(PACKED)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), state)
        inputs = jnp.asarray(np.random.default_rng(5).normal(size=(B, T, D)))
        weights = jnp.asarray(np.random.default_rng(6).normal(size=(B, T, H)))

        @jax.jit
        def loss(state, inputs):
            hidden, last = nnx.merge(graphdef, state)(inputs, valid=valid, segments=segments)
            return jnp.sum(hidden * weights) + jnp.sum(jnp.square(last))

        grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(wide, inputs)
        leaves, treedef = jax.tree.flatten((wide, inputs))
        assert all(leaf.dtype == jnp.float64 for leaf in leaves)
        for at, gradient in enumerate(jax.tree.leaves(grads)):
            direction = np.random.default_rng(at).normal(size=leaves[at].shape)
            ends = []
            for sign in (1, -1):
                moved = [*leaves]
                moved[at] = moved[at] + sign * 1e-5 * direction
                ends.append(float(loss(*jax.tree.unflatten(treedef, moved))))
            slope = float(jnp.sum(gradient * direction))
            assert abs(slope) > 1e-3  # a zero gradient would agree with anything flat
            np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, slope, rtol=1e-7, atol=1e-8)
