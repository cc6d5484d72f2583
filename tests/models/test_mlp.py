"""The multilayer perceptron and the layers it is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import build

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.mlp import MLP
from bigtrain.models.rnn import RNN
from bigtrain.models.split import Parts, split

PIXELS = Field((3, 4), "float32", "features")
LABEL = Field((), "int32", "label")
DATA = Spec("made up", {"inputs": PIXELS, "targets": LABEL}, {"train": 8}, ("a", "b", "c"))
B = 5


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def mlp(**options):
    return build(lambda: MLP(DATA, **options, rngs=nnx.Rngs(0)))


def layers_of(model):
    return [(np.asarray(one.kernel[...]), np.asarray(one.bias[...])) for one in (*model.hidden, model.output)]


def test_without_hidden_layers_it_is_a_linear_model():
    model, values = mlp(widths=()), drawn(B, 3, 4)
    ((kernel, bias),) = layers_of(model)
    np.testing.assert_allclose(model(values), values.reshape(B, 12) @ kernel + bias, rtol=1e-5, atol=1e-6)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_equals_its_formula(name):
    model, values = mlp(widths=(6, 5), activation=name), drawn(B, 3, 4)
    expected = values.reshape(B, 12)
    *hidden, (kernel, bias) = layers_of(model)
    for inner, inner_bias in hidden:
        expected = ACTIVATIONS[name](expected @ inner + inner_bias)
    np.testing.assert_allclose(model(values), expected @ kernel + bias, rtol=1e-5, atol=1e-6)


NORMS = {
    "none": lambda x: x,
    "layer": lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6),
    "rms": lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6),
    "batch": lambda x: (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5),
}


@pytest.mark.parametrize("name", NORMS)
def test_each_norm_equals_its_formula_and_stands_before_the_activation(name):
    model, values = mlp(widths=(6,), norm=name), drawn(B, 3, 4)
    (inner, inner_bias), (kernel, bias) = layers_of(model)
    model.train()  # batch norm uses the batch's own statistics there
    normalized = NORMS[name](values.reshape(B, 12) @ inner + inner_bias)
    if name != "none":
        normalized = normalized * model.norms[0].scale[...]
    if name in ("layer", "batch"):
        normalized = normalized + model.norms[0].bias[...]
    hidden = np.maximum(normalized, 0)
    np.testing.assert_allclose(model(values), hidden @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_batch_norm_statistics_move_in_training_and_not_in_evaluation():
    model, values = mlp(widths=(6,), norm="batch"), drawn(B, 3, 4)
    recipe, parts = split(model)
    assert sorted(parts.rest) == ["norms.0.count", "norms.0.mean", "norms.0.var"]
    (inner, bias), _ = layers_of(model)
    before = values.reshape(B, 12) @ inner + bias
    training = recipe.merge(parts, {"dropout": 0.0}, jax.random.key(0), training=True)
    training(values)
    moved = recipe.parts(training)
    np.testing.assert_allclose(moved.rest["norms.0.mean"], 0.1 * before.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(moved.rest["norms.0.var"], 0.9 + 0.1 * before.var(0), rtol=1e-5)
    for name, value in parts.rest.items():  # the arrays that went in are not touched
        np.testing.assert_array_equal(value, 1.0 if name.endswith("var") else 0.0)

    statistics = {"norms.0.mean": jnp.full(6, 0.3), "norms.0.var": jnp.full(6, 2.0)}
    stored = Parts(moved.params, {**moved.rest, **statistics})
    evaluation = recipe.merge(stored, {"dropout": 0.0}, jax.random.key(0), training=False)
    outputs = evaluation(values)
    for name, value in recipe.parts(evaluation).rest.items():
        np.testing.assert_array_equal(value, stored.rest[name])
    kernel, out_bias = layers_of(model)[1]
    hidden = (before - 0.3) / np.sqrt(2.0 + 1e-5) * parts.params["norms.0.scale"] + parts.params["norms.0.bias"]
    hidden = np.maximum(hidden, 0)
    np.testing.assert_allclose(outputs, hidden @ kernel + out_bias, rtol=1e-4, atol=1e-5)


LETTERS = Spec(
    "letters",
    {"inputs": Field((4,), "int32", "tokens"), "targets": LABEL, "lengths": Field((), "int32", "length")},
    {"train": 8},
    ("a", "b", "c"),
    Vocabulary(tuple("uvwxyz")),
)
COLUMNS = Field((2,), "int32", "categories", sizes=(4, 6))


def test_tokens_are_a_bag_of_embeddings_of_which_padding_is_no_part():
    model = build(lambda: MLP(LETTERS, widths=(), embedding=5, rngs=nnx.Rngs(0)))
    tokens, lengths = np.array([[0, 3, 1, 5], [2, 2, 4, 1]]), np.array([2, 4])
    table, ((kernel, bias),) = np.asarray(model.bag.table[...]), layers_of(model)
    means = np.stack([table[row[:length]].mean(0) for row, length in zip(tokens, lengths, strict=True)])
    np.testing.assert_allclose(
        model(jnp.asarray(tokens), lengths=jnp.asarray(lengths)), means @ kernel + bias, rtol=1e-5
    )
    np.testing.assert_allclose(model(jnp.asarray(tokens)), table[tokens].mean(1) @ kernel + bias, rtol=1e-5)


def test_categories_are_embedded_beside_the_numbers():
    data = Spec("table", {**DATA.fields, "categories": COLUMNS}, {"train": 8}, ("a", "b", "c"))
    model = build(lambda: MLP(data, widths=(), embedding=3, rngs=nnx.Rngs(0)))
    first, second = (np.asarray(table[...]) for table in model.categories.tables)
    assert (first.shape, second.shape) == ((3, 3), (5, 3))
    values, columns = drawn(2, 3, 4), np.array([[1, 5], [3, 0]])  # 0: training didn't see it
    rows = [np.concatenate([first[0], second[4]]), np.concatenate([first[2], second.mean(0)])]
    ((kernel, bias),) = layers_of(model)
    expected = np.concatenate([values.reshape(2, 12), rows], axis=1) @ kernel + bias
    np.testing.assert_allclose(model(values, categories=jnp.asarray(columns)), expected, rtol=1e-5, atol=1e-6)


def test_a_table_of_categories_alone_is_its_embeddings():
    data = Spec("table", {"inputs": COLUMNS, "targets": LABEL}, {"train": 8}, ("a", "b", "c"))
    model = build(lambda: MLP(data, widths=(), rngs=nnx.Rngs(0)))
    first, second = (np.asarray(table[...]) for table in model.categories.tables)
    assert (first.shape[1], second.shape[1]) == (3, 4)  # 1.6 * 3^0.56, 1.6 * 5^0.56
    ((kernel, bias),) = layers_of(model)
    expected = np.concatenate([first[1], second[2]]) @ kernel + bias
    np.testing.assert_allclose(model(jnp.array([[2, 3]]))[0], expected, rtol=1e-5)


def test_lengths_of_real_inputs_segments_and_missing_targets_are_refused():
    padded = Spec("padded", {**DATA.fields, "lengths": Field((), "int32", "length")}, {"train": 8}, ("a", "b"))
    packed = Spec(
        "packed",
        {**LETTERS.fields, "segments": Field((4,), "int32", "segments")},
        {"train": 8},
        ("a",),
        LETTERS.vocabulary,
    )
    for data, message in (
        (padded, "model: MLP can't read the lengths of data 'padded'\n  use model=rnn"),
        (packed, "model: MLP can't read the segments of data 'packed'\n  use model=rnn"),
        (Spec("bare", {"inputs": PIXELS}, {"train": 8}), "model: MLP needs targets, and data 'bare' has none"),
    ):
        with pytest.raises(ConfigError) as caught:
            MLP(data, rngs=nnx.Rngs(0))
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("fields", [{"inputs": COLUMNS}, {"inputs": PIXELS, "categories": COLUMNS}])
def test_models_that_read_no_categories_refuse_them(fields):
    name = "categories" if "categories" in fields else "inputs"
    data = Spec("table", {**fields, "targets": LABEL}, {"train": 8}, ("a", "b"))
    with pytest.raises(ConfigError) as caught:
        RNN(data, rngs=nnx.Rngs(0))
    assert str(caught.value) == f"model: RNN can't read the {name} of data 'table'\n  model=mlp reads them"


@pytest.mark.parametrize(
    ("targets", "width"),
    [
        (LABEL, 3),
        (Field((), "float32", "real"), 1),
        (Field((2,), "float32", "real"), 2),
        (Field((2, 3), "float32", "real"), 6),
    ],
)
def test_the_output_is_as_wide_as_the_targets_need(targets, width):
    data = Spec("made up", {"inputs": PIXELS, "targets": targets}, {"train": 8}, ("a", "b", "c"))
    assert build(lambda: MLP(data, widths=(), rngs=nnx.Rngs(0))).output.kernel.shape == (12, width)
