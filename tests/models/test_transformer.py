"""The Transformer against a plain NumPy one, what it makes of each kind of data, and generation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, assert_gradient, build, float64

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.split import Parts
from bigtrain.models.transformer import Transformer

B, T, D = 2, 6, 3
SIZES = {"train": 8}
TOKENS = Field((T,), "int32", "tokens")
ROWS = Field((T, D), "float32", "features")
IMAGE = Field((4, 6, 2), "float32", "features")
LABEL = Field((), "int32", "label")
LENGTHS = Field((), "int32", "length")
SEGMENTS = Field((T,), "int32", "segments")
LETTERS = Vocabulary(tuple("abcdefg"))
GPT = {"norm": "layer", "activation": "gelu", "positions": "learned", "bias": True}
LLAMA = {"norm": "rms", "activation": "swiglu", "positions": "rotary", "kv_heads": 2, "tie_embeddings": False}
SMALL = {"layers": 2, "width": 16, "heads": 4, "hidden": 20}


def spec(inputs=TOKENS, targets=LABEL, classes=("a", "b", "c"), vocabulary=LETTERS, **extra):
    return Spec("made up", {"inputs": inputs, "targets": targets, **extra}, SIZES, classes, vocabulary)


def text(length=T):
    field = Field((length,), "int32", "tokens")
    return spec(field, field, None)


def transformer(data, seed=0, **options):
    return build(lambda: Transformer(data, **{**SMALL, **options}, rngs=nnx.Rngs(0)), seed)


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def letters(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, len(LETTERS), shape))


class Reference:
    """GPT-2's and Llama's forward pass in float64, one sequence and one head at a time, from the parameters alone."""

    def __init__(self, params, heads, kv_heads=None, base=10_000.0):
        self.params = {name: np.asarray(value, np.float64) for name, value in params.items()}
        self.heads, self.kv_heads, self.base = heads, kv_heads or heads, base

    def __call__(self, tokens):
        x = self.params["embedding.embed.embedding"][tokens]
        if "embedding.position" in self.params:
            x = x + self.params["embedding.position"][: len(tokens)]
        depth = 0
        while f"blocks.layers.{depth}.attention.query.kernel" in self.params:
            block = f"blocks.layers.{depth}."
            x = x + self.attention(block + "attention.", self.norm(block + "attention_norm.", x))
            x = x + self.feed_forward(block + "feed_forward.", self.norm(block + "feed_forward_norm.", x))
            depth += 1
        x = self.norm("norm.", x)
        head = self.params.get("head.kernel")
        return x @ (self.params["embedding.embed.embedding"].T if head is None else head)

    def linear(self, name, x):
        return x @ self.params[name + ".kernel"] + self.params.get(name + ".bias", 0.0)

    def norm(self, name, x):
        if name + "bias" in self.params:
            x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        return x * self.params[name + "scale"] + self.params.get(name + "bias", 0.0)

    def turned(self, x):
        """Llama's rotate_half: complex numbers made of dim i and dim i + H/2."""
        half = x.shape[-1] // 2
        angles = np.arange(len(x))[:, None] * self.base ** (-np.arange(half) / half)
        z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
        return np.concatenate([z.real, z.imag], -1)

    def attention(self, name, x):
        query, key, value = (self.linear(name + part, x) for part in ("query", "key", "value"))
        size, found = query.shape[-1] // self.heads, []
        for head in range(self.heads):
            shared = head // (self.heads // self.kv_heads)
            q, k = query[:, head * size : (head + 1) * size], key[:, shared * size : (shared + 1) * size]
            if "embedding.position" not in self.params:
                q, k = self.turned(q), self.turned(k)
            scores = q @ k.T / np.sqrt(size) + np.triu(np.full((len(x), len(x)), -np.inf), 1)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights = weights / weights.sum(-1, keepdims=True)
            found.append(weights @ value[:, shared * size : (shared + 1) * size])
        return self.linear(name + "output", np.concatenate(found, -1))

    def feed_forward(self, name, x):
        up = self.linear(name + "up", x)
        if name + "gate.kernel" in self.params:
            gate = self.linear(name + "gate", x)
            return self.linear(name + "down", gate / (1 + np.exp(-gate)) * up)
        gelu = 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
        return self.linear(name + "down", gelu)


@pytest.mark.parametrize("options", [GPT, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("attention", ["plain", "fused"])
def test_logits_equal_a_plain_numpy_reference(options, attention):
    recipe, parts = apart(lambda: Transformer(text(), **SMALL, **options, attention=attention, rngs=nnx.Rngs(0)))
    model = recipe.merge(parts, {"dropout": 0.0}, jax.random.key(0), training=False)
    reference = Reference(parts.params, 4, options.get("kv_heads"))
    tokens = letters(B, T)
    expected = np.stack([reference(np.asarray(row)) for row in tokens])
    assert np.abs(expected).max() > 1  # a comparison of zeros would say nothing
    np.testing.assert_allclose(model(tokens), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [GPT, LLAMA, {"positions": "sinusoidal"}], ids=["gpt2", "llama", "sines"])
def test_a_causal_model_sees_nothing_of_what_comes(options):
    model, tokens = transformer(text(), **options), letters(B, T)
    found = model(tokens)
    for at in range(1, T):
        changed = model(tokens.at[:, at].set((tokens[:, at] + 1) % 7))
        np.testing.assert_array_equal(found[:, :at], changed[:, :at])
        assert np.abs(found[:, at:] - changed[:, at:]).max(-1).min() > 1e-6


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("positions", ["rotary", "learned", "sinusoidal"])
def test_padded_and_packed_rows_equal_each_sequence_alone(causal, positions):
    data = spec(ROWS, Field((T,), "int32", "label"), lengths=LENGTHS, segments=SEGMENTS)
    model = transformer(data, causal=causal, positions=positions)
    inputs, lengths = drawn(2, T, D), jnp.asarray([5, 2])
    segments = jnp.asarray([[1, 1, 1, 2, 2, 0], [4, 4, 4, 4, 4, 4]])
    found = model(inputs, lengths=lengths, segments=segments)
    beyond = jnp.arange(T)[:, None] >= lengths[:, None, None]
    changed = model(jnp.where(beyond, 1e3, inputs), lengths=lengths, segments=segments)
    for row, first, last in ((0, 0, 3), (0, 3, 5), (1, 0, 2)):
        np.testing.assert_array_equal(found[row, first:last], changed[row, first:last])
        expected = model(inputs[row : row + 1, first:last])[0]
        np.testing.assert_allclose(found[row, first:last], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_one_answer_for_a_padded_sequence_is_that_of_the_shorter_one(pooling):
    model = transformer(spec(lengths=LENGTHS), pooling=pooling, **{**GPT, "layers": 1})
    tokens = letters(3, T)
    found = model(tokens, lengths=jnp.asarray([6, 4, 4]))
    assert found.shape == (3, 3)
    for row, length in enumerate((6, 4, 4)):
        np.testing.assert_allclose(found[row], model(tokens[row : row + 1, :length])[0], rtol=1e-4, atol=1e-5)


def test_an_image_is_cut_into_squares_in_reading_order_with_a_class_token_in_front():
    model = transformer(spec(IMAGE, vocabulary=None), patch=2, positions="learned")
    image = drawn(B, 4, 6, 2)
    assert model.embedding.position.shape == (1 + 6, 16)
    seen = model.embedding(image)
    for at, (row, column) in enumerate([(0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4)]):
        square = image[:, row : row + 2, column : column + 2].reshape(B, -1)
        expected = square @ model.embedding.project.kernel[...] + model.embedding.project.bias[...]
        expected += model.embedding.position[...][1 + at]
        np.testing.assert_allclose(seen[:, 1 + at], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        seen[:, 0], jnp.tile(model.embedding.class_token[...] + model.embedding.position[...][0], (B, 1)), rtol=1e-6
    )
    assert model(image).shape == (B, 3)


def test_the_answer_of_a_causal_model_is_not_read_from_a_token_that_sees_nothing():
    model = transformer(spec(IMAGE), patch=2, causal=True)
    assert model.embedding.class_token is None
    assert float(jnp.abs(model(drawn(B, 4, 6, 2)) - model(drawn(B, 4, 6, 2, seed=1))).min()) > 1e-3


def test_vectors_are_cut_into_runs_and_images_are_read_as_rows_without_a_patch_size():
    vector = Field((T,), "float32", "features")
    runs = transformer(spec(vector, vocabulary=None), patch=2)
    pairs = transformer(spec(Field((3, 2), "float32", "features"), vocabulary=None))
    np.testing.assert_array_equal(runs(drawn(B, T)), pairs(drawn(B, T).reshape(B, 3, 2)))
    rows, flat = transformer(spec(IMAGE)), transformer(spec(Field((4, 12), "float32", "features")))
    np.testing.assert_array_equal(rows(drawn(B, 4, 6, 2)), flat(drawn(B, 4, 6, 2).reshape(B, 4, 12)))


@pytest.mark.parametrize(
    ("data", "causal", "per_step", "language", "shape"),
    [
        (text(), True, True, True, (B, T, 7)),
        (spec(TOKENS, LABEL), False, False, False, (B, 3)),
        (spec(TOKENS, Field((), "float32", "real"), None), False, False, False, (B, 1)),
        (spec(TOKENS, Field((T,), "int32", "label")), False, True, False, (B, T, 3)),
        (spec(ROWS, Field((T, 2), "float32", "real"), None), True, True, False, (B, T, 2)),
        (spec(ROWS, Field((4, 2), "float32", "real"), None), False, False, False, (B, 8)),
    ],
)
def test_what_it_is_follows_from_the_data(data, causal, per_step, language, shape):
    model = transformer(data)
    assert (model.reading.causal, model.reading.per_step, model.reading.language) == (causal, per_step, language)
    inputs = letters(B, T) if data.inputs.kind == "tokens" else drawn(B, T, D)
    assert jax.eval_shape(model, inputs).shape == shape


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("options", [GPT, LLAMA, {"positions": "sinusoidal"}], ids=["gpt2", "llama", "sines"])
def test_generation_token_by_token_equals_the_whole_pass(options, scan):
    model, tokens = transformer(text(), scan_layers=scan, **options), letters(B, T)
    _, logits = jax.lax.scan(lambda carry, token: model.step(carry, token), model.initial(B, T), tokens.T)
    np.testing.assert_allclose(logits.swapaxes(0, 1), model(tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [GPT, LLAMA], ids=["gpt2", "llama"])
def test_beyond_the_context_the_older_half_is_forgotten(options):
    model, tokens = transformer(text(), scan_layers=True, **options), letters(B, 2 * T + 1)
    whole = jax.jit(lambda window: model(window))
    carry = model.initial(B, tokens.shape[1])
    _, logits = jax.lax.scan(lambda carry, token: model.step(carry, token), carry, tokens.T)
    for at in range(tokens.shape[1]):
        first = 0 if at < T else (at - T) // (T // 2) * (T // 2) + T // 2  # a half is forgotten every T/2 tokens
        window = jnp.pad(tokens, ((0, 0), (0, T)))[:, first : first + T]  # what follows `at` has no influence
        np.testing.assert_allclose(logits[at], whole(window)[:, at - first], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [GPT, LLAMA], ids=["gpt2", "llama"])
def test_generation_works_in_bfloat16(options):
    recipe, parts = apart(lambda: Transformer(text(), **SMALL, **options, rngs=nnx.Rngs(0)))
    half = Parts({name: (value / 4).astype(jnp.bfloat16) for name, value in parts.params.items()}, parts.rest)
    model = recipe.merge(half, {"dropout": 0.0}, jax.random.key(0), training=False)
    tokens = letters(B, T)
    carry = model.initial(B, T)
    assert {leaf.dtype for leaf in jax.tree.leaves(carry["caches"])} == {jnp.dtype(jnp.bfloat16)}
    _, logits = jax.lax.scan(lambda carry, token: model.step(carry, token), carry, tokens.T)
    assert logits.dtype == jnp.bfloat16
    np.testing.assert_allclose(logits.swapaxes(0, 1).astype(jnp.float32), model(tokens), atol=0.05)


def test_in_bf16_every_matrix_product_is_one_of_bf16():
    recipe, parts = apart(lambda: Transformer(text(), **SMALL, **LLAMA, rngs=nnx.Rngs(0)))
    half = Parts({name: value.astype(jnp.bfloat16) for name, value in parts.params.items()}, parts.rest)

    def logits(params):
        return recipe.merge(Parts(params, half.rest), {"dropout": 0.0}, jax.random.key(0), training=False)(
            letters(B, T)
        )

    def products_of(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield equation
            elif equation.primitive.name == "custom_vjp_call":
                yield from products_of(equation.params["call_jaxpr"].jaxpr)

    products = list(products_of(jax.make_jaxpr(logits)(half.params).jaxpr))
    assert (
        len(products) == 2 * 7 + 1
    )  # of a block: 2 projections (three are one), 2 of attention, 3 of the feed-forward
    assert {str(var.aval.dtype) for product in products for var in product.invars} == {"bfloat16"}


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (text(), {**LLAMA, "scan_layers": True, "layers": 2}),
        (spec(ROWS, LABEL, lengths=LENGTHS), {**GPT, "layers": 1, "pooling": "cls", "norm_position": "post"}),
    ],
    ids=["decoder", "encoder"],
)
def test_the_gradient_agrees_with_finite_differences(data, options):
    with float64():
        recipe, parts = apart(lambda: Transformer(data, **{**SMALL, **options}, rngs=nnx.Rngs(0)), dtype=jnp.float64)
        tokens = data.inputs.kind == "tokens"
        inputs = letters(B, T) if tokens else jnp.asarray(np.random.default_rng(0).normal(size=(B, T, D)))
        extras = {} if tokens else {"lengths": jnp.asarray([T, T - 2])}

        def loss(params):
            model = recipe.merge(Parts(params, parts.rest), {"dropout": 0.0}, jax.random.key(0), training=False)
            return (jax.nn.log_softmax(model(inputs, **extras))[..., 1]).mean()

        params = {
            name: value for name, value in parts.params.items() if not name.endswith("key.bias")
        }  # a bias of all keys shifts all scores of a query alike
        whole = jax.jit(lambda part: loss({**parts.params, **part}))
        assert_gradient(whole, params, jax.grad(whole)(params))


PAIRS = spec(TOKENS, TOKENS, None, lengths=LENGTHS, target_lengths=LENGTHS)
CATEGORIES = Field((2,), "int32", "categories", sizes=(2, 3))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (text(), {"causal": False}, "model.causal: a language model must not read what it has to predict"),
        (PAIRS, {}, "model: Transformer answers for the sequence it reads, and data 'made up' has pairs of sequences"),
        (spec(ROWS, categories=CATEGORIES), {}, "model: Transformer can't read the categories of data 'made up'"),
        (spec(Field((), "float32", "features")), {}, "model: Transformer reads sequences, and data 'made up' has"),
        (
            spec(Field((2, T), "int32", "tokens")),
            {},
            "model: Transformer reads tokens as one sequence, and data 'made up' has shape [2, 6]",
        ),
        (text(), {"patch": 2}, "model.patch: data 'made up' has tokens, which are read one by one"),
        (
            spec(IMAGE),
            {"patch": 4},
            "model.patch: inputs of shape [4, 6, 2] can't be cut into patches of 4 allowed: 1, 2",
        ),
        (spec(ROWS, lengths=LENGTHS), {"patch": 3}, "model.patch: data 'made up' has inputs of several lengths, which"),
        (spec(Field((2, 2, 2, 2), "float32", "features")), {"patch": 2}, "model.patch: data 'made up' has inputs of"),
        (text(), {"pooling": "cls"}, "model.pooling: 'cls' does not fit data 'made up', which has a target"),
        (
            spec(segments=SEGMENTS),
            {"pooling": "cls"},
            "model.pooling: one class token can't stand for the sequences that data 'made up' packs into a row",
        ),
        (spec(IMAGE), {"patch": 2, "causal": True, "pooling": "cls"}, "model.pooling: a class token stands in front"),
        (spec(), {"tie_embeddings": True}, "model.tie_embeddings: only a language model's output can use its"),
        (text(), {"context": 5}, "model.context: 5 is less than the 6 steps of data 'made up'"),
        (text(), {"width": 12, "heads": 4}, "model.positions: rotary needs heads of an even size, and 12 / 4 = 3"),
        (Spec("bare", {"inputs": ROWS}, SIZES), {}, "model: Transformer needs targets, and data 'bare' has none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_data_is_refused(data, options, message):
    with pytest.raises(ConfigError) as caught:
        Transformer(data, **{**SMALL, **options}, rngs=nnx.Rngs(0))
    assert message in " ".join(str(caught.value).split())


def test_a_longer_context_than_the_datas_gives_a_longer_table():
    model = transformer(text(), context=9, **GPT)
    assert model.embedding.position.shape == (9, 16)
    assert model(letters(B, 9)).shape == (B, 9, 7)


def test_fresh_values_are_gpt2s():
    model = Transformer(text(), layers=8, width=64, heads=4, **GPT, rngs=nnx.Rngs(0))
    block = model.blocks.layers[0]
    for kernel in (block.attention.query.kernel, block.feed_forward.up.kernel, model.embedding.embed.embedding):
        assert float(kernel[...].std()) == pytest.approx(0.02, rel=0.15)
    for kernel in (block.attention.output.kernel, block.feed_forward.down.kernel):
        assert float(kernel[...].std()) == pytest.approx(0.02 / 4, rel=0.1)
