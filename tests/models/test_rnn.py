"""The recurrent model: stacks, both directions, what it reads, and generation step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, build, eager

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.rnn import RNN
from bigtrain.models.split import Parts

B, T, D = 3, 6, 4
SIZES = {"train": 8}
ROWS = Field((T, D), "float32", "features")
TOKENS = Field((T,), "int32", "tokens")
LABEL = Field((), "int32", "label")
LETTERS = Vocabulary(tuple("abcde"))


def spec(inputs=ROWS, targets=LABEL, classes=("a", "b", "c"), vocabulary=None, **extra):
    return Spec("made up", {"inputs": inputs, "targets": targets, **extra}, SIZES, classes, vocabulary)


def text():
    return spec(TOKENS, TOKENS, None, LETTERS)


def rnn(data, **options):
    return build(lambda: RNN(data, **options, rngs=nnx.Rngs(0)))


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_two_layers_in_both_directions_are_put_together_as_documented():
    model = rnn(spec(), cell="gru", width=5, layers=2, bidirectional=True)
    values = expected = drawn(B, T, D)
    with jax.disable_jit():
        for ahead, back in zip(model.forward, model.backward, strict=True):
            assert (ahead.reverse, back.reverse) == (False, True)
            back.reverse = False
            (hidden, last), (flipped, first) = ahead(expected), back(expected[:, ::-1])
            back.reverse = True
            expected = jnp.concatenate([hidden, flipped[:, ::-1]], axis=-1)
        ends = jnp.concatenate([last, first], axis=-1)
    np.testing.assert_allclose(model(values), model.output(ends), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_output_at_each_step_and_one_after_the_last_are_the_same_network(bidirectional):
    options = {"cell": "gru", "width": 5, "bidirectional": bidirectional}
    steps = rnn(spec(targets=Field((T,), "int32", "label")), **options)
    last = rnn(spec(), **options)
    every, one = steps(drawn(B, T, D)), last(drawn(B, T, D))
    assert every.shape == (B, T, 3)
    if bidirectional:  # the two directions end at opposite sides
        np.testing.assert_array_less(1e-3, np.abs(every[:, -1] - one).max())
    else:
        np.testing.assert_allclose(every[:, -1], one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padded_and_packed_rows_equal_each_sequence_alone_through_two_layers(bidirectional):
    model = rnn(spec(targets=Field((T,), "int32", "label")), width=5, layers=2, bidirectional=bidirectional)
    inputs, lengths = drawn(2, T, D), jnp.asarray([5, 2])
    segments = jnp.asarray([[1, 1, 1, 2, 2, 0], [4, 4, 4, 4, 4, 4]])
    outputs = jax.jit(lambda inputs: model(inputs, lengths=lengths, segments=segments))
    found = outputs(inputs)
    padding = jnp.arange(T)[:, None] >= lengths[:, None, None]
    np.testing.assert_array_equal(found, outputs(jnp.where(padding, 1e3, inputs)))
    for row, first, beyond in ((0, 0, 3), (0, 3, 5), (1, 0, 2)):
        expected = eager(model, inputs[row : row + 1, first:beyond])[0]
        np.testing.assert_allclose(found[row, first:beyond], expected, rtol=1e-5, atol=1e-6)


def test_the_output_after_the_last_valid_step_equals_the_shorter_sequence():
    model = rnn(spec(), width=5, layers=2, bidirectional=True)
    found = model(drawn(B, T, D), lengths=jnp.asarray([6, 4, 1]))
    for row, length in enumerate((6, 4, 1)):
        expected = eager(model, drawn(B, T, D)[row : row + 1, :length])[0]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ["simple", "gru", "lstm"])
def test_generation_token_by_token_equals_the_whole_pass(cell):
    model = rnn(text(), cell=cell, width=6, layers=2, embedding=3)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 5, (B, T)))
    whole, carry = model(tokens), model.initial(B, T)
    for at in range(T):
        carry, logits = model.step(carry, tokens[:, at])
        np.testing.assert_allclose(logits, whole[:, at], rtol=1e-5, atol=1e-6)


def test_generation_works_in_bfloat16():
    recipe, parts = apart(lambda: RNN(text(), cell="gru", width=6, layers=2, rngs=nnx.Rngs(0)))
    small = Parts({name: value.astype(jnp.bfloat16) for name, value in parts.params.items()}, parts.rest)
    model = recipe.merge(small, {"dropout": 0.0}, jax.random.key(0), training=False)
    tokens = jnp.asarray([[1, 2, 3]])
    _, (_, logits) = jax.lax.scan(
        lambda carry, token: ((step := model.step(carry, token))[0], step), model.initial(1, 3), tokens.T
    )
    np.testing.assert_allclose(logits[:, 0], model(tokens)[0].astype(jnp.float32), atol=0.05)


def test_an_image_is_read_as_rows_and_a_vector_as_single_values():
    pixels = Field((4, 3, 2), "float32", "features")
    image, flat = rnn(spec(pixels), width=5), rnn(spec(Field((4, 6), "float32", "features")), width=5)
    values = drawn(B, 4, 3, 2)
    np.testing.assert_array_equal(image(values), flat(values.reshape(B, 4, 6)))
    vector = rnn(spec(Field((T,), "float32", "features")), width=5)
    column = rnn(spec(Field((T, 1), "float32", "features")), width=5)
    np.testing.assert_array_equal(vector(drawn(B, T)), column(drawn(B, T)[..., None]))


def test_features_that_have_tokens_as_targets_are_not_embedded_and_may_be_read_both_ways():
    model = rnn(spec(ROWS, TOKENS, None, LETTERS), bidirectional=True, width=5)
    assert model.embed is None
    assert model(drawn(B, T, D)).shape == (B, T, 5)


@pytest.mark.parametrize(("shape", "expected"), [((), (B, 1)), ((2,), (B, 2)), ((T,), (B, T, 1)), ((T, 2), (B, T, 2))])
def test_real_targets_of_each_shape_get_as_many_outputs(shape, expected):
    model = rnn(spec(targets=Field(shape, "float32", "real")), width=5)
    assert jax.eval_shape(model, drawn(B, T, D)).shape == expected


@pytest.mark.parametrize("kind", ["real", "label"])
@pytest.mark.parametrize("extra", [(), (2,)])
def test_targets_as_long_as_the_inputs_may_be_read_from_the_last_state(kind, extra):
    data = spec(targets=Field((T, *extra), "float32", kind))
    shape = (T, *extra, 3) if kind == "label" else (T, *extra)
    steps, last = (rnn(data, width=5, output=output) for output in ("sequence", "last"))
    assert (steps.per_step, last.per_step) == (True, False)
    values = drawn(B, T, D)
    found = last(values)
    assert found.size == B * np.prod(shape)
    if kind == "label":
        assert found.shape == (B, *shape)
    changed = last(values.at[:, -1].add(1.0)) - found
    assert (np.abs(changed).reshape(B, T, -1).max(-1) > 0).all()  # every answer has seen the last step
    if not extra:
        changed = steps(values.at[:, -1].add(1.0)) - steps(values)
        np.testing.assert_array_equal(changed[:, :-1], 0)


@pytest.mark.parametrize("targets", [Field((2,), "float32", "real"), LABEL])
def test_last_is_what_auto_does_where_the_targets_have_no_steps(targets):
    auto, last = (rnn(spec(targets=targets), width=5, output=output) for output in ("auto", "last"))
    np.testing.assert_array_equal(auto(drawn(B, T, D)), last(drawn(B, T, D)))


def test_dropout_lies_between_layers_and_before_the_output_and_only_in_training():
    def make(dropout):
        options = {"cell": "simple", "width": 50, "layers": 2, "dropout": dropout}
        return build(lambda: RNN(spec(), **options, rngs=nnx.Rngs(0)), dropout=dropout)

    plain, model = make(0.0), make(0.5)
    expected = eager(plain, drawn(B, T, D))
    np.testing.assert_array_equal(eager(model, drawn(B, T, D)), expected)
    model.train()
    seen, drop = [], model.dropout
    model.dropout = lambda values: seen.append((values.shape, float(jnp.mean(drop(values) == 0)))) or drop(values)
    assert np.abs(eager(model, drawn(B, T, D)) - expected).max() > 1e-3
    assert [shape for shape, _ in seen] == [(B, T, 50), (B, 50)]
    assert all(0.3 < share < 0.7 for _, share in seen)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (text(), {"bidirectional": True}, "model.bidirectional: a language model must not read what it has to predict"),
        (spec(), {"output": "sequence"}, "model.output: 'sequence' does not fit targets of shape []\n  use auto"),
        (
            spec(targets=Field((2,), "float32", "real")),
            {"output": "sequence"},
            "model.output: 'sequence' does not fit targets of shape [2]\n  use auto",
        ),
        (
            spec(targets=Field((T - 1,), "int32", "label")),
            {},
            "model: RNN gives one answer an example, and data 'made up' has labels of shape [5]",
        ),
        (
            Spec("bare", {"inputs": ROWS}, SIZES),
            {"output": "sequence"},
            "model: RNN needs targets, and data 'bare' has none",
        ),
        (text(), {"output": "last"}, "model.output: 'last' does not fit targets of shape [6]\n  use auto"),
        (Spec("bare", {"inputs": ROWS}, SIZES), {}, "model: RNN needs targets, and data 'bare' has none"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(data, options, message):
    with pytest.raises(ConfigError) as caught:
        RNN(data, **options, rngs=nnx.Rngs(0))
    assert str(caught.value).startswith(message)
