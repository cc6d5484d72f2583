"""Around the update rule: schedule, clipping and freezing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bigtrain.config.check import check_node
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust
from bigtrain.optim.chain import Chain

TRUST = Trust()
PARAMS = {"embed.embedding": jnp.ones((4, 3)), "hidden.0.kernel": jnp.ones((3, 2)), "hidden.0.bias": jnp.ones(2)}
GRADS = {
    "embed.embedding": jnp.full((4, 3), 3.0),
    "hidden.0.kernel": jnp.full((3, 2), -2.0),
    "hidden.0.bias": jnp.ones(2),
}
NORM = float(np.sqrt(12 * 9 + 6 * 4 + 2))
SGD = {"_target_": "optax.sgd", "learning_rate": 0.5}
RULES = {
    "sgd": {**SGD, "momentum": 0.9},
    "adamw": {"_target_": "optax.adamw", "learning_rate": 0.1, "weight_decay": 0.1},
    "muon": {"_target_": "optax.contrib.muon", "learning_rate": 0.1, "weight_decay": 0.1},
    "lamb": {"_target_": "optax.lamb", "learning_rate": 0.1, "weight_decay": 0.1},
    "adafactor": {"_target_": "optax.adafactor", "learning_rate": 0.1, "weight_decay_rate": 0.05},
}


def chain(optimizer=SGD, schedule=None, clip=False, freeze=()):
    shape = {"_target_": "bigtrain.optim.schedule.constant", **(schedule or {})}
    return Chain(check_node("optimizer", optimizer, TRUST), check_node("schedule", shape, TRUST), TRUST, clip, freeze)


NUMBERS = {"total_steps": 4.0, "schedule.warmup": 0.0}


def one_step(made, **numbers):
    rule = made.transformation({**NUMBERS, **numbers})
    return rule.update(GRADS, rule.init(PARAMS), PARAMS)[0]


def test_the_learning_rate_follows_the_schedule_step_by_step():
    made = chain(schedule={"_target_": "bigtrain.optim.schedule.linear"})
    rule = made.transformation(NUMBERS)
    state = rule.init(PARAMS)
    for step, factor in enumerate((1.0, 0.75, 0.5, 0.25)):
        updates, state = rule.update(GRADS, state, PARAMS)
        np.testing.assert_allclose(updates["hidden.0.bias"], -0.5 * factor, rtol=1e-6)
        assert float(made.learning_rate(NUMBERS, jnp.int32(step))) == pytest.approx(0.5 * factor)


@pytest.mark.parametrize("limit", [1.0, 5.0, 100.0])
def test_gradients_are_scaled_down_to_the_norm_together_and_never_up(limit):
    updates = jax.jit(lambda limit: one_step(chain(clip=True), clip_norm=limit))(limit)
    for name, update in updates.items():
        np.testing.assert_allclose(update, -0.5 * GRADS[name] * min(1.0, limit / NORM), rtol=1e-6)


def test_the_norm_to_clip_at_is_an_argument_of_the_program():
    made = chain(clip=True)
    run = jax.jit(lambda limit: one_step(made, clip_norm=limit)["hidden.0.bias"])
    np.testing.assert_allclose(run(1.0), -0.5 / NORM, rtol=1e-6)
    np.testing.assert_allclose(run(2.0), -1.0 / NORM, rtol=1e-6)
    assert run._cache_size() == 1


@pytest.mark.parametrize("name", RULES)
def test_frozen_parameters_keep_every_bit_and_have_no_optimizer_state(name):
    made = chain(RULES[name], freeze=("embed*",))
    alone = {key: value for key, value in PARAMS.items() if not key.startswith("embed")}
    frozen, bare = made.transformation(NUMBERS), chain(RULES[name]).transformation(NUMBERS)
    state, bare_state = frozen.init(PARAMS), bare.init(alone)
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [leaf.shape for leaf in jax.tree.leaves(bare_state)]

    def after_three(rule, state, params):
        for _ in range(3):
            updates, state = rule.update({key: GRADS[key] for key in params}, state, params)
            params = optax.apply_updates(params, updates)
        return params

    params = jax.jit(lambda: after_three(frozen, state, PARAMS))()
    expected = jax.jit(lambda: after_three(bare, bare_state, alone))()
    np.testing.assert_array_equal(params["embed.embedding"], PARAMS["embed.embedding"])
    for key, value in expected.items():
        np.testing.assert_array_equal(params[key], value)
        assert (value != PARAMS[key]).all()


def test_frozen_gradients_do_not_count_in_the_norm_that_is_clipped():
    updates = one_step(chain(clip=True, freeze=("embed*",)), clip_norm=1.0)
    np.testing.assert_allclose(updates["hidden.0.bias"], -0.5 / np.sqrt(6 * 4 + 2), rtol=1e-6)


def test_a_pattern_that_freezes_nothing_is_refused():
    made = chain(freeze=("hidden.0.*", "embeding.embedding"))
    with pytest.raises(ConfigError) as caught:
        made.check_freeze(list(PARAMS))
    assert str(caught.value) == (
        "freeze: 'embeding.embedding' matches no parameter\n"
        "  allowed: embed.embedding, hidden.0.kernel, hidden.0.bias\n"
        "  did you mean 'embed.embedding'?"
    )


def test_patterns_that_leave_nothing_to_train_are_refused():
    with pytest.raises(ConfigError, match=r"freeze: \['\*'\] matches every parameter: nothing would be trained"):
        chain(freeze=("*",)).check_freeze(list(PARAMS))
    with pytest.raises(ConfigError, match="matches every parameter"):
        chain(freeze=("hidden.0.*", "embed*")).check_freeze(list(PARAMS))
    chain(freeze=("hidden.0.kernel", "embed*")).check_freeze(list(PARAMS))


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate: 'fast' is not allowed"):
        chain({"_target_": "optax.adam", "learning_rate": "fast"})
    schedule = {"_target_": "optax.linear_schedule", "init_value": 1.0, "end_value": 0.0, "transition_steps": 1}
    with pytest.raises(ConfigError, match=r"optimizer\._target_: 'optax\.linear_schedule'"):
        chain(schedule).transformation(NUMBERS)
