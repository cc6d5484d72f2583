"""Convolutional networks: the published parameter counts, small images, sequences, and what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from tiny import NUMBERS, apart, assert_gradient, build, float64

from bigtrain.config import groups
from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.cnn import CNN
from bigtrain.models.split import split
from bigtrain.tasks.classification import Classification
from bigtrain.train.step import mean_gradient

RANDOM = np.random.default_rng(0)
LABEL, LENGTH = Field((), "int32", "label"), Field((), "int32", "length")


def spec(*shape, targets=LABEL, classes=3, kind="features", **extra):
    fields = {"inputs": Field(shape, "int32" if kind == "tokens" else "float32", kind), "targets": targets, **extra}
    letters = Vocabulary(tuple("abcdefg")) if kind == "tokens" else None
    return Spec("made up", fields, {"train": 8}, tuple(str(one) for one in range(classes)), letters)


def drawn(*shape, dtype="float32"):
    return jnp.asarray(RANDOM.normal(size=shape), dtype)


def configured(name, data, **changes):
    """The constructor of a choice of `configs/model/cnn/`."""
    values = yaml.safe_load((groups.builtin_dir() / "model" / "cnn" / f"{name}.yaml").read_text())
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    del values["_target_"]
    return lambda: CNN(data, **{**values, **changes}, rngs=nnx.Rngs(0))


def parameters(make):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(nnx.eval_shape(make), nnx.Param)))


IMAGENET = spec(224, 224, 3, classes=1000)
PUBLISHED = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameters_for_imagenet_are_as_many_as_published(name):
    assert parameters(configured(name, IMAGENET)) == PUBLISHED[name]


def test_vgg_with_batch_norm_has_its_published_parameters():
    assert parameters(configured("vgg16", IMAGENET, norm="batch")) == 138_365_992


@pytest.mark.parametrize("shape", [(32, 32, 1), (28, 28), (8, 8)])
def test_lenet_has_its_61706_parameters(shape):
    assert parameters(configured("lenet5", spec(*shape, classes=10))) == 61_706


@pytest.mark.parametrize("name", [*PUBLISHED, "lenet5"])
@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28), (8, 8)])
def test_small_images_go_through_every_network(name, shape):
    recipe, parts = split(nnx.eval_shape(configured(name, spec(*shape), width=0.25)))
    inputs = jax.ShapeDtypeStruct((2, *shape), jnp.float32)

    def outputs(params, rest, inputs):
        return recipe.merge(type(parts)(params, rest), NUMBERS, jax.random.key(0), training=True)(inputs)

    assert jax.eval_shape(outputs, parts.params, parts.rest, inputs).shape == (2, 3)


def test_the_small_resnet_keeps_the_resolution_of_its_stem():
    stems = [
        nnx.eval_shape(configured("resnet18", spec(32, 32, 3), stem=stem)).levels[0] for stem in ("auto", "imagenet")
    ]
    assert [stem.blocks[0].units[0].convolution.kernel.shape for stem in stems] == [(3, 3, 3, 64), (7, 7, 3, 64)]
    assert [stem.stage.size(32) for stem in stems] == [32, 8]


def test_a_width_scales_channels_and_head():
    model = nnx.eval_shape(configured("vgg11", IMAGENET, width=0.5))
    assert model.levels[4].blocks[1].units[0].convolution.kernel.shape == (3, 3, 256, 256)
    assert model.head.hidden[0].kernel.shape == (256 * 49, 2048)


def test_a_basic_block_equals_its_formula():
    model = build(
        lambda: CNN(
            spec(4, 4, 2), stages=({"channels": 2, "block": "basic"},), head=(), reduce="average", rngs=nnx.Rngs(0)
        )
    )
    block, values = model.levels[0].blocks[0], drawn(2, 4, 4, 2)
    first, second = (unit.convolution for unit in block.units)
    expected = jax.nn.relu(second(jax.nn.relu(first(values))) + values)
    np.testing.assert_allclose(block(values, None)[0], expected, rtol=1e-5, atol=1e-5)
    assert block.shortcut is None


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_block_that_changes_the_shape_has_a_shortcut_of_size_1(block):
    stages = ({"channels": 8, "block": block, "stride": 2, "repeat": 2},)
    model = build(lambda: CNN(spec(5, 5, 2), stages=stages, head=(), reduce="average", norm="batch", rngs=nnx.Rngs(0)))
    first, second = model.levels[0].blocks
    assert first.shortcut.convolution.kernel.shape == (1, 1, 2, 8)
    assert second.shortcut is None
    assert model.levels[0](drawn(2, 5, 5, 2), None)[0].shape == (2, 3, 3, 8)


STAGES = {
    "plain": ({"channels": 4, "stride": 2}, {"channels": 4, "pool": 2}),
    "parallel": ({"channels": 6, "block": "parallel", "kernels": (2, 3, 5), "pool": 2, "pool_kind": "average"},),
    "residual": ({"channels": 4, "block": "basic", "stride": 2, "repeat": 2}, {"channels": 4, "block": "bottleneck"}),
    "centred": ({"channels": 4, "kernel": 4, "pool": 3, "pool_stride": 2, "pool_centred": True},),
    "valid": ({"channels": 4, "padding": 0}, {"channels": 4, "padding": 2, "kernel": 4, "stride": 2}),
}


@pytest.mark.parametrize(
    ("stages", "reduce", "activation"),
    [("plain", "average", "sigmoid"), ("parallel", "max", "relu"), ("residual", "average", "relu"),
     ("centred", "max", "relu"), ("valid", "average", "relu")],
)  # fmt: skip
def test_a_padded_sequence_gives_what_it_gives_alone(stages, reduce, activation):
    data = spec(11, 2, lengths=LENGTH)
    options = {"stages": STAGES[stages], "head": (), "norm": "batch", "activation": activation, "reduce": reduce}
    recipe, parts = apart(lambda: CNN(data, **options, rngs=nnx.Rngs(0)))
    model = jax.jit(
        lambda values, lengths: recipe.merge(parts, NUMBERS, jax.random.key(0), training=False)(values, lengths=lengths)
    )
    values = drawn(2, 11, 2)
    together = model(values.at[0, 6:].set(1e6).at[1, 3:].set(jnp.inf), jnp.asarray([6, 3]))
    for at, length in enumerate((6, 3)):
        alone = model(values[at : at + 1, :length], jnp.asarray([length]))
        np.testing.assert_allclose(together[at], alone[0], rtol=1e-4, atol=1e-5)


def test_a_vector_is_a_curve_and_an_image_without_channels_is_grey():
    stages = ({"channels": 4},)
    curve = build(lambda: CNN(spec(9), stages=stages, rngs=nnx.Rngs(0)))
    grey = build(lambda: CNN(spec(9, 7), stages=stages, rngs=nnx.Rngs(0)))
    rows = build(lambda: CNN(spec(9, 7), stages=stages, dims=1, rngs=nnx.Rngs(0)))
    kernels = [model.levels[0].blocks[0].units[0].convolution.kernel.shape for model in (curve, grey, rows)]
    assert kernels == [(3, 1, 4), (3, 3, 1, 4), (3, 7, 4)]
    assert curve(drawn(2, 9)).shape == grey(drawn(2, 9, 7)).shape == rows(drawn(2, 9, 7)).shape == (2, 3)


def test_kims_network_takes_the_greatest_value_of_each_window_over_the_text():
    data = spec(8, kind="tokens", lengths=LENGTH)
    model = build(configured("kim", data, width=0.02, embedding=5))
    tokens, lengths = jnp.asarray(RANDOM.integers(0, 7, (2, 8))), jnp.asarray([8, 4])
    vectors = model.grid.embed.embedding[...][tokens]
    found = []
    for unit in model.levels[0].blocks[0].units:
        part = jax.nn.relu(unit.convolution(jnp.where((jnp.arange(8) < lengths[:, None])[..., None], vectors, 0)))
        found.append(jnp.stack([part[at, : lengths[at]].max(0) for at in range(2)]))
    expected = model.head.output(jnp.concatenate(found, -1))
    np.testing.assert_allclose(model(tokens, lengths=lengths), expected, rtol=1e-5, atol=1e-5)
    assert len(found) == 3


def test_regression_targets_give_as_many_outputs():
    model = nnx.eval_shape(lambda: CNN(spec(6, 6, targets=Field((2,), "float32", "real")), rngs=nnx.Rngs(0)))
    assert model.head.output.kernel.shape[1] == 2


@pytest.mark.parametrize("stages", ["plain", "residual", "parallel"])
def test_the_gradient_agrees_with_finite_differences(stages):
    data = spec(7, 2, lengths=LENGTH)
    with float64():
        options = {"stages": STAGES[stages], "head": (3,), "norm": "batch", "activation": "silu", "reduce": "average"}
        recipe, parts = apart(lambda: CNN(data, **options, rngs=nnx.Rngs(0)), dtype="float64")
        batch = {
            "inputs": drawn(4, 7, 2, dtype="float64"),
            "targets": jnp.asarray([0, 1, 2, 1]),
            "lengths": jnp.asarray([7, 3, 5, 2]),
        }
        gradient = mean_gradient(recipe, Classification(), NUMBERS, dtype=jnp.dtype("float64"))
        grads, _, _ = jax.jit(gradient)(parts.params, parts.rest, batch, jax.random.key(0))

        @jax.jit
        def loss(params):
            found = gradient(params, parts.rest, batch, jax.random.key(0))[2]["loss"]
            return found.total / found.weight

        # before a norm, a number added to every position has no influence
        without = {name: value for name, value in parts.params.items() if not name.endswith("convolution.bias")}
        rest = {name: value for name, value in parts.params.items() if name not in without}
        assert_gradient(lambda given: loss({**given, **rest}), without, grads)
        assert all(float(jnp.abs(grads[name]).max()) < 1e-8 for name in rest)


def test_in_bfloat16_every_product_is_one():
    recipe, parts = apart(configured("resnet18", spec(8, 8), width=0.1))
    gradient = mean_gradient(recipe, Classification(), NUMBERS, dtype=jnp.dtype("bfloat16"))
    batch = {"inputs": drawn(2, 8, 8), "targets": jnp.asarray([0, 1])}
    text = str(jax.make_jaxpr(gradient)(parts.params, parts.rest, batch, jax.random.key(0)))
    lines = [line for line in text.splitlines() if "dot_general[" in line or "conv_general_dilated[" in line]
    assert len(lines) > 50
    assert all(":bf16[" in line for line in lines)


FIELDS = (
    "channels, block, repeat, kernel, kernels, stride, padding, bias, pool, pool_stride, pool_kind, pool_centred, small"
)
ONE = "model: CNN gives one answer an example, and data 'made up' has"
FIT = "set model.stem=small, a smaller kernel, padding: same, or a larger model.pad_to"
READS = "CNN reads images [H, W(, C)], vectors and sequences, and data 'made up' has features of shape [2, 2, 2, 2]"
RNN = "\n  model=rnn gives one at each step"
PER_STEP = Field((5,), "float32", "real")
REFUSED_DATA = {
    f"{ONE} tokens of shape [5]{RNN}": spec(5, kind="tokens", targets=Field((5,), "int32", "tokens")),
    f"{ONE} labels of shape [5]{RNN}": spec(5, 2, targets=Field((5,), "int32", "label")),
    f"{ONE} one at each step{RNN}": spec(5, 2, targets=PER_STEP, lengths=LENGTH),
    "model: CNN can't read the segments of data 'made up'\n  use model=rnn": spec(
        5, segments=Field((5,), "int32", "segments")
    ),
    f"model: {READS}\n  model=mlp flattens any shape": spec(2, 2, 2, 2),
}
FLAT = "model.dims: 2 needs images, and data 'made up' has features of shape [5"
REFUSED_STAGES = {
    "model.stages: is empty\n  allowed: a list of at least one stage": (),
    "model.stages[0].channels: is missing\n  say how many channels the stage has": ({"pool": 2},),
    f"model.stages[1].chanels: a stage has no such field\n  allowed: {FIELDS}\n  did you mean 'channels'?": (
        {"channels": 2},
        {"chanels": 2},
    ),
    "model.stages[0].channels: 0 is not allowed\n  allowed: an integer of at least 1": ({"channels": 0},),
    "model.stages[0].block: 'dense' is not allowed\n  allowed: plain, parallel, basic, bottleneck": (
        {"channels": 2, "block": "dense"},
    ),
    "model.stages[0].padding: -1 is not allowed\n  allowed: same, or an integer of at least 0": (
        {"channels": 2, "padding": -1},
    ),
    "model.stages[0].small.stride: 'x' is not allowed\n  allowed: an integer of at least 1": (
        {"channels": 2, "small": {"stride": "x"}},
    ),
    "model.stages[0].small: 3 is no table\n  allowed: fields of a stage": ({"channels": 2, "small": 3},),
    "model.stages[0].kernels: go with block: parallel\n  say both, or neither": ({"channels": 2, "block": "parallel"},),
    "model.stages[0].channels: 2 channels can't be shared by 3 kernels\n"
    "  raise it or model.width, or take fewer kernels": ({"channels": 2, "block": "parallel", "kernels": [3, 4, 5]},),
    "model.stages[0].bias: convolutions of residual blocks have none\n  leave it out": (
        {"channels": 2, "block": "basic", "bias": True},
    ),
    "model.stages[0].padding: only plain blocks have another padding than 'same'": (
        {"channels": 2, "block": "basic", "padding": 0},
    ),
    "model.stages[0].pool_stride: says how to pool, and nothing is pooled\n  set pool, its window": (
        {"channels": 2, "pool_stride": 2},
    ),
    f"model.stages[1]: a window of 5 doesn't fit into a map of [2, 2]\n  {FIT}": (
        {"channels": 2, "padding": 0},
        {"channels": 2, "kernel": 5, "padding": 0, "pool": 2},
    ),
}


def refusal(data, **options):
    with pytest.raises(ConfigError) as caught:
        nnx.eval_shape(lambda: CNN(data, **options, rngs=nnx.Rngs(0)))
    return str(caught.value)


@pytest.mark.parametrize("text", REFUSED_DATA)
def test_data_that_it_cannot_read_is_refused(text):
    assert refusal(REFUSED_DATA[text]) == text


@pytest.mark.parametrize("text", REFUSED_STAGES)
def test_a_mistake_in_the_stages_is_answered_with_its_path(text):
    assert refusal(spec(4, 4), stages=REFUSED_STAGES[text]) == text


def test_two_dimensions_need_images():
    assert refusal(spec(5), dims=2) == f"{FLAT}]\n  use auto"
    assert refusal(spec(5, 5, lengths=LENGTH), dims=2) == f"{FLAT}, 5] with lengths\n  use auto"
