"""A model taken apart and put together again is the same model, also with layers of a user's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, build

from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.mlp import MLP
from bigtrain.models.rnn import RNN
from bigtrain.models.split import Parts, split
from bigtrain.models.vae import VAE

pytestmark = pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning")

KEY = jax.random.key(3)
GREY = Field((4, 3), "float32", "features", low=0.0, high=1.0)
IMAGES = Spec("images", {"inputs": GREY, "targets": Field((), "int32", "label")}, {"train": 8}, ("a", "b"))
TOKENS = Field((4,), "int32", "tokens")
TEXT = Spec("text", {"inputs": TOKENS, "targets": TOKENS}, {"train": 8}, None, Vocabulary(tuple("abc")))
PIXELS = np.random.default_rng(0).uniform(size=(5, 4, 3)).astype(np.float32)
LETTERS = np.random.default_rng(0).integers(0, 3, (5, 4))

MODELS = {
    "a deep mlp": (lambda rngs: MLP(IMAGES, widths=(3,) * 12, norm="batch", dropout=0.1, rngs=rngs), PIXELS),
    "rnn": (lambda rngs: RNN(IMAGES, width=4, layers=2, bidirectional=True, dropout=0.1, rngs=rngs), PIXELS),
    "rnn over tokens": (lambda rngs: RNN(TEXT, cell="gru", width=4, rngs=rngs), LETTERS),
    "vae": (lambda rngs: VAE(IMAGES, widths=(4,), latent=2, likelihood="gaussian", rngs=rngs), PIXELS),
}
NUMBERS = {"dropout": 0.1, "beta": 1.0}


@pytest.mark.parametrize("name", MODELS)
def test_the_way_there_and_back_keeps_every_value_under_its_name(name):
    make, inputs = MODELS[name]
    model = build(lambda: make(nnx.Rngs(1)), **NUMBERS)
    recipe, parts = split(model)
    for leaves, kind in ((parts.params, nnx.Param), (parts.rest, nnx.BatchStat)):
        for path, variable in nnx.to_flat_state(nnx.state(model, kind)):
            assert leaves[".".join(map(str, path))] is variable.get_value()
    back = recipe.merge(parts, NUMBERS, KEY, training=False)
    again = recipe.parts(back)
    assert (list(again.params), list(again.rest)) == (list(parts.params), list(parts.rest))
    jax.tree.map(np.testing.assert_array_equal, (again.params, again.rest), (parts.params, parts.rest))
    found, expected = back(inputs), model(inputs)
    if name == "vae":  # the noise comes from elsewhere
        found, expected = (result["mean"] for result in (found, expected))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_shapes_alone_give_the_same_recipe(name):
    make, inputs = MODELS[name]
    recipe, parts = apart(lambda: make(nnx.Rngs(1)))
    real, same = split(recipe.merge(parts, NUMBERS, KEY, training=True))
    assert (recipe.names, recipe.fields, recipe.streams) == (real.names, real.fields, real.streams)
    assert list(same.params) == list(parts.params)
    outputs = [one.merge(parts, NUMBERS, KEY, training=True)(inputs) for one in (recipe, real)]
    jax.tree.map(np.testing.assert_array_equal, *outputs)


class Own(nnx.Module):
    """Flax's own dropout and batch norm, one layer used twice, tied weights, a state that isn't trained, and sow."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 3, rngs=rngs)
        self.second = self.first
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.embed = nnx.Param(jax.random.normal(rngs.params(), (3, 3)))
        self.decode = self.embed
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))
        self.rngs = rngs

    def __call__(self, values):
        self.calls[...] += 1
        values = self.drop(self.norm(self.second(self.first(values))))
        self.sow(nnx.Intermediate, "hidden", values)
        values = values + jax.random.normal(self.rngs.noise(), values.shape)
        return values @ self.embed[...] @ self.decode[...].T


VALUES = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)


def test_shared_modules_and_tied_weights_are_one_array_with_one_gradient():
    recipe, parts = apart(lambda: Own(nnx.Rngs(0, noise=1)))
    assert sorted(parts.params) == ["decode", "first.bias", "first.kernel", "norm.bias", "norm.scale"]
    model = recipe.merge(parts, {}, KEY, training=True)
    assert model.first is model.second
    assert model.embed is model.decode

    def loss(params):
        return jnp.sum(recipe.merge(Parts(params, parts.rest), {}, KEY, training=True)(VALUES) ** 2)

    grads = jax.jit(jax.grad(loss))(parts.params)
    run = jax.jit(loss)
    for name, direction in (("decode", VALUES[:3]), ("first.kernel", VALUES[3:])):
        ends = [run({**parts.params, name: parts.params[name] + sign * 1e-2 * direction}) for sign in (1, -1)]
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-2, np.sum(grads[name] * direction), rtol=5e-3)


def test_the_same_key_gives_the_same_outputs_and_another_key_others():
    recipe, parts = apart(lambda: Own(nnx.Rngs(0, noise=1)))
    first, again, other = (
        recipe.merge(parts, {}, key, training=True)(VALUES) for key in (KEY, jax.random.key(3), jax.random.key(4))
    )
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).all()


def test_every_random_stream_is_its_own():
    recipe, parts = split(nnx.List([nnx.Dropout(0.5, rngs=nnx.Rngs(0)) for _ in range(3)]))
    drops = [drop(jnp.ones(300)) for drop in recipe.merge(parts, {}, KEY, training=True)]
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert 0.3 < np.mean(np.asarray(drops[left] == drops[right])) < 0.7


def test_a_stack_of_layers_has_a_stream_for_each():
    @nnx.split_rngs(splits=4)
    @nnx.vmap(in_axes=0, out_axes=0)
    def stack(rngs):
        return nnx.Dropout(0.5, rngs=rngs)

    recipe, parts = split(stack(nnx.Rngs(0)))
    model = recipe.merge(parts, {}, KEY, training=True)
    run = nnx.vmap(lambda drop, values: drop(values), in_axes=(0, None), out_axes=0)
    found = np.asarray(run(model, jnp.ones(200)))
    assert len({row.tobytes() for row in found}) == 4
    again = recipe.merge(parts, {}, KEY, training=True)
    np.testing.assert_array_equal(found, run(again, jnp.ones(200)))


def test_state_outside_the_parameters_moves_and_what_a_call_adds_does_not_stay():
    recipe, parts = apart(lambda: Own(nnx.Rngs(0, noise=1)))
    assert sorted(parts.rest) == ["calls", "norm.mean", "norm.var"]

    def body(rest, _):
        model = recipe.merge(Parts(parts.params, rest), {}, KEY, training=True)
        model(VALUES)
        return recipe.parts(model).rest, None

    rest, _ = jax.lax.scan(body, parts.rest, None, length=3)
    assert int(rest["calls"]) == 3
    assert (rest["norm.mean"] != parts.rest["norm.mean"]).all()
    evaluated = recipe.merge(parts, {}, KEY, training=False)
    evaluated(VALUES)
    np.testing.assert_array_equal(recipe.parts(evaluated).rest["norm.mean"], parts.rest["norm.mean"])


def test_merging_works_under_grad_jit_and_vmap_over_the_numbers():
    recipe, parts = apart(lambda: VAE(IMAGES, widths=(4,), latent=2, rngs=nnx.Rngs(0)))

    def loss(params, numbers):
        result = recipe.merge(Parts(params, parts.rest), numbers, KEY, training=True)(PIXELS)
        return jnp.sum(result["outputs"] ** 2) + result["beta"] * jnp.sum(result["mean"] ** 2)

    many = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(parts.params, {"beta": jnp.asarray([0.0, 2.0])})
    for at, beta in enumerate((0.0, 2.0)):
        one = jax.jit(jax.grad(loss))(parts.params, {"beta": beta})
        for name, value in one.items():
            np.testing.assert_allclose(many[name][at], value, rtol=1e-5, atol=1e-5)
