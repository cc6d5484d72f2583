"""The encoder–decoders: what is written step by step is what teacher forcing says, and padding has no influence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import NUMBERS, apart, build, eager

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.seq2seq import Seq2Seq
from bigtrain.models.seq2seq_transformer import TransformerSeq2Seq
from bigtrain.tasks.decoding import Ends, beam

B, S, T = 3, 5, 4
SOURCE = Vocabulary(tuple("abcde"))
TARGET = Vocabulary((*"xyz", "<start>", "<end>"), start=3, end=4)
LENGTH = Field((), "int32", "length")
FIELDS = {
    "inputs": Field((S,), "int32", "tokens"), "lengths": LENGTH,
    "targets": Field((T,), "int32", "tokens"), "target_lengths": LENGTH,
}  # fmt: skip
SPEC = Spec("made up", FIELDS, {"train": 8}, None, SOURCE, TARGET)
RANDOM = np.random.default_rng(0)
INPUTS = jnp.asarray(RANDOM.integers(0, 5, (B, S)), jnp.int32)
PREVIOUS = jnp.asarray(RANDOM.integers(0, 5, (B, T)), jnp.int32).at[:, 0].set(3)
LENGTHS = jnp.asarray([5, 2, 3])

SMALL = {"width": 4, "embedding": 3}
TRANSFORMER = {"width": 8, "heads": 2, "layers": 2, "hidden": 8, "dropout": 0.0}
MODELS = {
    "sutskever": (Seq2Seq, {**SMALL, "attention": "none", "layers": 2, "reverse_source": True}),
    "bahdanau": (Seq2Seq, {**SMALL, "cell": "gru", "bidirectional": True}),
    "bahdanau, deep": (Seq2Seq, {**SMALL, "layers": 2}),
    "luong": (Seq2Seq, {**SMALL, "cell": "gru", "attention": "luong"}),
    "transformer": (TransformerSeq2Seq, TRANSFORMER),
    "transformer, post": (
        TransformerSeq2Seq, {**TRANSFORMER, "norm_position": "post", "tied": "none", "decoder_layers": 1},
    ),
    "transformer, scanned": (TransformerSeq2Seq, {**TRANSFORMER, "scan_layers": True, "remat": "full"}),
}  # fmt: skip


@functools.cache
def model(name, **options):
    family, own = MODELS[name]
    return build(lambda: family(SPEC, **own, **options, rngs=nnx.Rngs(0)))


@functools.cache
def compiled(name):
    made = model(name)  # not while it is traced: others use the same arrays
    return jax.jit(lambda inputs, previous, lengths: made(inputs, previous, lengths=lengths))


def forced(name, inputs, lengths, previous=PREVIOUS):
    return compiled(name)(inputs, previous, lengths)


@pytest.mark.parametrize("name", MODELS)
def test_teacher_forcing_and_steps_give_the_same_logits(name):
    made = model(name)

    @jax.jit
    def stepwise(inputs, previous, lengths):
        carry = made.initial(made.encode(inputs, lengths=lengths), T)
        return jax.lax.scan(made.step, carry, previous.T)[1].swapaxes(0, 1)

    found = stepwise(INPUTS, PREVIOUS, LENGTHS)
    whole = forced(name, INPUTS, LENGTHS)
    assert whole.shape == (B, T, 5)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_what_follows_a_source_changes_no_bit(name):
    beyond = jnp.arange(S) >= LENGTHS[:, None]
    other = jnp.where(beyond, (INPUTS + 2) % 5, INPUTS)
    whole = forced(name, INPUTS, LENGTHS)
    np.testing.assert_array_equal(whole, forced(name, other, LENGTHS))
    inside = jnp.where(jnp.arange(S) == 1, (INPUTS + 2) % 5, INPUTS)  # every source has a second token
    assert (jnp.abs(whole - forced(name, inside, LENGTHS)).max(axis=(1, 2)) > 1e-4).all()


def test_stacked_layers_give_what_separate_ones_do_and_a_beam_finds_the_same():
    """From the same initial values; also the state between two tokens, whose arrays a beam reorders by their rows."""

    def written(scan):
        made = TransformerSeq2Seq(SPEC, **TRANSFORMER, scan_layers=scan, rngs=nnx.Rngs(0))
        memory = made.encode(jnp.repeat(INPUTS, 3, axis=0), lengths=jnp.repeat(LENGTHS, 3))
        carry = made.initial(memory, T)
        assert {leaf.shape[0] for leaf in jax.tree.leaves(carry) if leaf.ndim} == {3 * B}
        tokens, scores = beam(made.step, carry, B, Ends(made.start, made.end, T), size=3)
        return made(INPUTS, PREVIOUS, lengths=LENGTHS), tokens, scores

    (logits, tokens, scores), others = (jax.jit(written, static_argnums=0)(scan) for scan in (False, True))
    np.testing.assert_allclose(logits, others[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tokens, others[1])
    np.testing.assert_allclose(scores, others[2], rtol=1e-5)


@pytest.mark.parametrize("name", ["bahdanau", "transformer"])
def test_a_source_alone_is_the_source_among_longer_ones(name):
    alone = jax.jit(model(name))(INPUTS[1:2, :2], PREVIOUS[1:2])
    np.testing.assert_allclose(alone[0], forced(name, INPUTS, LENGTHS)[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_token_sees_only_those_before_it(name):
    changed = PREVIOUS.at[:, 2].set((PREVIOUS[:, 2] + 1) % 5)
    before, after = (forced(name, INPUTS, LENGTHS, given) for given in (PREVIOUS, changed))
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (jnp.abs(before - after)[:, 2:].max(axis=(1, 2)) > 1e-5).all()


def softmax(values):
    shares = np.exp(values - values.max())
    return shares / shares.sum()


def test_additive_attention_is_that_of_the_paper():
    """Bahdanau et al. 2015, eq. 5 and 6: e_ij = v·tanh(W s_{i-1} + U h_j), and c_i the mean of h_j by softmax(e_i)."""
    made = model("bahdanau")
    memory = eager(made.encode, INPUTS, lengths=LENGTHS)
    state = RANDOM.normal(size=(B, 1, 4)).astype(np.float32)
    found = eager(made._attended, jnp.asarray(state), memory)
    values = np.asarray(memory["values"], np.float64)
    w, u, v = (np.asarray(layer.kernel[...], np.float64) for layer in (made.query, made.key, made.score))
    for row, length in enumerate(LENGTHS.tolist()):
        energies = [np.tanh(state[row, 0] @ w + values[row, j] @ u + np.asarray(made.key.bias[...])) @ v
                    for j in range(length)]  # fmt: skip
        context = softmax(np.concatenate(energies)) @ values[row, :length]
        np.testing.assert_allclose(found[row, 0], context, rtol=1e-5)


def test_multiplicative_attention_is_that_of_the_paper():
    """Luong et al. 2015, 'general': score(h_t, h_s) = h_t·W h_s."""
    made = model("luong")
    memory = eager(made.encode, INPUTS, lengths=LENGTHS)
    state = RANDOM.normal(size=(B, 1, 4)).astype(np.float32)
    found = eager(made._attended, jnp.asarray(state), memory)
    values, w = np.asarray(memory["values"], np.float64), np.asarray(made.key.kernel[...], np.float64)
    for row, length in enumerate(LENGTHS.tolist()):
        context = softmax((values[row, :length] @ w) @ state[row, 0]) @ values[row, :length]
        np.testing.assert_allclose(found[row, 0], context, rtol=1e-5)


def test_a_source_read_backwards_is_the_turned_source():
    plain = build(lambda: Seq2Seq(SPEC, **SMALL, attention="none", rngs=nnx.Rngs(0)))
    turned = build(lambda: Seq2Seq(SPEC, **SMALL, attention="none", reverse_source=True, rngs=nnx.Rngs(0)))
    found = [jax.jit(made)(inputs, PREVIOUS) for made, inputs in ((plain, INPUTS[:, ::-1]), (turned, INPUTS))]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bahdanau, deep", "transformer"])
def test_dropout_draws_in_training_alone(name):
    family, own = MODELS[name]
    recipe, parts = apart(lambda: family(SPEC, **{**own, "dropout": 0.4}, rngs=nnx.Rngs(0)))

    @functools.partial(jax.jit, static_argnums=1)
    def logits(key, training):
        made = recipe.merge(parts, {**NUMBERS, "dropout": 0.4}, jax.random.key(key), training=training)
        return made(INPUTS, PREVIOUS, lengths=LENGTHS)

    assert float(jnp.abs(logits(0, True) - logits(1, True)).max()) > 1e-3
    np.testing.assert_array_equal(logits(0, True), logits(0, True))
    np.testing.assert_array_equal(logits(0, False), logits(1, False))


@pytest.mark.parametrize("name", ["bahdanau", "transformer"])
def test_bfloat16_is_kept(name):
    family, own = MODELS[name]
    recipe, parts = apart(lambda: family(SPEC, **own, rngs=nnx.Rngs(0)), dtype="bfloat16")
    made = recipe.merge(parts, NUMBERS, jax.random.key(0), training=False)
    assert jax.eval_shape(lambda: made(INPUTS, PREVIOUS, lengths=LENGTHS)).dtype == jnp.bfloat16
    carry = jax.eval_shape(lambda: made.step(made.initial(made.encode(INPUTS, lengths=LENGTHS), T), PREVIOUS[:, 0]))
    assert carry[1].dtype == jnp.bfloat16


def without(*names, **changed):
    fields = {name: entry for name, entry in FIELDS.items() if name not in names}
    return Spec("other", {**fields, **changed}, {"train": 8}, ("a", "b"), SOURCE, None if names else TARGET)


@pytest.mark.parametrize("family", [Seq2Seq, TransformerSeq2Seq])
def test_other_data_is_refused(family):
    for data, message in (
        (without("target_lengths"), "writes sequences of their own length, and data 'other' has none as targets"),
        (without(inputs=Field((4,), "float32", "features")), "reads a sequence of tokens, and data 'other' has none"),
        (without(targets=Field((), "int32", "label")), "writes sequences of their own length"),
    ):
        with pytest.raises(ConfigError) as caught:
            family(data, rngs=nnx.Rngs(0))
        assert message in str(caught.value)
        assert "data=pairs reads your own" in str(caught.value)
