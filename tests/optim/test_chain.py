"""Every optimizer of `configs/` does what Optax does when it is called directly with the same numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml

from bigtrain.config import numbers as config_numbers
from bigtrain.config.check import check_node
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust
from bigtrain.optim.chain import Chain, decays, matrices

FOLDER = Path(__file__).parents[2] / "configs" / "optimizer"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
RANDOM = np.random.default_rng(0)
SHAPES = {
    "hidden.0.kernel": (6, 5),
    "hidden.0.bias": (5,),
    "norms.0.scale": (5,),
    "output.kernel": (5, 3),
    "log_variance": (),
}


def drawn():
    return {name: jnp.asarray(RANDOM.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}


PARAMS, GRADS = drawn(), [drawn() for _ in range(3)]
MASK = {
    "hidden.0.kernel": True,
    "hidden.0.bias": False,
    "norms.0.scale": False,
    "output.kernel": True,
    "log_variance": False,
}


def chain(name, schedule=None, clip=False, freeze=(), **changes):
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) if "." not in name else {"_target_": name}
    trusted = Trust()
    node = check_node("optimizer", {**values, **changes}, trusted)
    shape = check_node("schedule", schedule or {"_target_": "bigtrain.optim.schedule.constant"}, trusted)
    return Chain(node, shape, trusted, clip, freeze)


def numbers(made, **more):
    def steps(duration):
        return int(duration.amount)

    found = {"total_steps": 10.0, **more}
    for node in (made.optimizer, made.schedule):
        found |= config_numbers.of(node, steps)
    return found


def steps_of(rule, params=PARAMS):
    """The parameters after each of three updates."""
    state, trail = rule.init(params), []
    for grads in GRADS:
        updates, state = rule.update({name: grads[name] for name in params}, state, params)
        params = optax.apply_updates(params, updates)
        trail.append(params)
    return trail


DIRECT = {
    "adafactor": lambda: optax.adafactor(0.01),
    "adagrad": lambda: optax.adagrad(0.01),
    "adam": lambda: optax.adam(0.001),
    "adamw": lambda: optax.adamw(0.001, weight_decay=0.01, mask=MASK),
    "lamb": lambda: optax.lamb(0.001, weight_decay=0.01, mask=MASK),
    "lion": lambda: optax.lion(1e-4, weight_decay=0.1, mask=MASK),
    "muon": lambda: optax.contrib.muon(0.01, weight_decay=0.01),  # it gives matrices alone to the decayed rule
    "nadam": lambda: optax.adam(0.001, nesterov=True),
    "rmsprop": lambda: optax.rmsprop(0.001),
    "sgd": lambda: optax.sgd(0.1, momentum=0.9),
}


def assert_same(found, expected, rtol=1e-6):
    for ours, theirs in zip(found, expected, strict=True):
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, atol=1e-7, err_msg=name)


def test_every_optimizer_of_the_folder_is_compared():
    assert list(DIRECT) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_equal_optax_called_directly_with_constant_and_with_traced_numbers(name):
    made = chain(name)
    constant = numbers(made)

    @jax.jit
    def all_three(traced):
        rules = made.transformation(traced), made.transformation(constant), DIRECT[name]()
        return [steps_of(rule) for rule in rules]

    *ours, expected = all_three({path: jnp.float32(value) for path, value in constant.items()})
    for found in ours:
        assert_same(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_learning_rate_and_weight_decay_are_arguments_of_the_program(name):
    made = chain(name)
    decay = {"adafactor": "weight_decay_rate"}.get(name, "weight_decay")
    takes = decay in made.optimizer.callee.parameters
    given = numbers(chain(name, **({decay: 0.02} if takes else {})))
    assert ("optimizer.learning_rate" in given, f"optimizer.{decay}" in given) == (True, takes)
    assert made.traceable(given) == given


EVERY = {
    "adafactor": {"decay_rate": 0.8, "clipping_threshold": 1.0, "momentum": 0.9, "eps": 1e-30},
    "adagrad": {"initial_accumulator_value": 0.1, "eps": 1e-7},
    "adam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 1e-9},
    "adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 1e-9},
    "lamb": {"b1": 0.9, "b2": 0.999, "eps": 1e-6, "eps_root": 1e-9},
    "lion": {"b1": 0.9, "b2": 0.99},
    "muon": {"beta": 0.95, "adam_b1": 0.9, "adam_b2": 0.999, "eps": 1e-8, "adam_learning_rate": 1e-3},
    "nadam": {"b1": 0.9, "b2": 0.999},
    "rmsprop": {"decay": 0.9, "eps": 1e-8, "momentum": 0.5},
    "sgd": {"momentum": 0.5},
}
CONSTANT: dict[str, set[str]] = {}
"""Numbers that Optax branches on, by optimizer: they stay constants of the program. None at present."""


@pytest.mark.parametrize("name", NAMES)
def test_which_numbers_stay_constant_is_known(name):
    made = chain(name, **EVERY[name])
    given = numbers(made)
    assert {f"optimizer.{field}" for field in EVERY[name]} <= given.keys()
    constant = {path.removeprefix("optimizer.") for path in given.keys() - made.traceable(given).keys()}
    assert constant == CONSTANT.get(name, set())


def test_decay_masks_are_for_matrices_and_keep_the_empty_places_of_a_split():
    assert decays(PARAMS) == MASK
    holes = {**PARAMS, "output.kernel": optax.MaskedNode()}
    assert decays(holes)["output.kernel"] == optax.MaskedNode()


DECAY = {**dict.fromkeys(("adamw", "lion", "lamb", "muon"), "weight_decay"), "adafactor": "weight_decay_rate"}


@pytest.mark.parametrize(("name", "field"), DECAY.items())
def test_weight_decay_moves_matrices_and_no_bias_or_norm(name, field):
    with_decay, without = (chain(name, **{field: value}) for value in (0.3, 0.0))
    both = (with_decay, without)
    ours, theirs = jax.jit(lambda: [steps_of(made.transformation(numbers(made)))[0] for made in both])()
    for key, matrix in MASK.items():
        assert bool((ours[key] != theirs[key]).any()) == matrix, key


def test_a_rule_that_needs_the_loss_is_refused_before_it_is_compiled():
    made = chain("optax.polyak_sgd")
    with pytest.raises(ConfigError, match=r"^optimizer\._target_: 'optax\.polyak_sgd' can't be used: .* 'value'"):
        made.traceable(numbers(made))


def test_the_schedule_also_shapes_a_learning_rate_that_is_the_rule_s_own_default():
    halves = {"_target_": "bigtrain.optim.schedule.linear"}
    made = chain("optax.contrib.dadapt_adamw", schedule=halves)
    given = numbers(made)
    assert "optimizer.learning_rate" not in given
    assert float(made.learning_rate(given, jnp.int32(5))) == pytest.approx(0.5)
    direct = optax.contrib.dadapt_adamw(optax.linear_schedule(1.0, 0.0, 10))
    assert_same(*jax.jit(lambda: [steps_of(rule) for rule in (made.transformation(given), direct)])())


def test_a_learning_rate_that_stays_constant_is_reported_all_the_same():
    made = chain("adam", schedule={"_target_": "bigtrain.optim.schedule.linear"})
    assert float(made.learning_rate({"total_steps": 10.0, "schedule.warmup": 0.0}, jnp.int32(5))) == pytest.approx(5e-4)


@pytest.mark.parametrize("name", ["adamw", "lion", "muon"])
def test_stacked_layers_are_updated_as_the_separate_ones(name):
    """A norm's scale has two dims in a stack of layers, a matrix three: they are still a vector and a matrix."""
    stacked = [
        {"stacked.kernel": jnp.stack([one["hidden.0.kernel"], two["hidden.0.kernel"]]),
         "stacked.scale": jnp.stack([one["norms.0.scale"], two["norms.0.scale"]])}
        for one, two in ((PARAMS, GRADS[0]), (GRADS[1], GRADS[2]))
    ]  # fmt: skip
    assert decays(stacked[0]) == {"stacked.kernel": True, "stacked.scale": False}
    assert list(matrices(stacked[0]).values()) == [(1, 2), None]
    made = chain(name, weight_decay=0.5)
    rule = made.transformation(numbers(made))
    found, _ = rule.update(stacked[1], rule.init(stacked[0]), stacked[0])
    for layer in range(2):
        own = [{key.removeprefix("stacked."): value[layer] for key, value in tree.items()} for tree in stacked]
        expected, _ = rule.update(own[1], rule.init(own[0]), own[0])
        for key, value in expected.items():
            np.testing.assert_allclose(found[f"stacked.{key}"][layer], value, rtol=1e-5, atol=1e-7)


def test_muon_leaves_embeddings_and_vectors_to_adam():
    tables = ("embed.embedding", "read.tables.0", "read.table", "embedding.position", "embedding.class_token")
    params = {**{name: jnp.ones((4, 3)) for name in (*tables, "hidden.kernel")}, "hidden.bias": jnp.ones(3)}
    assert matrices(params) == {**dict.fromkeys(tables), "hidden.kernel": (0, 1), "hidden.bias": None}
