"""The shapes of the learning rate at chosen steps, by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.optim.schedule import constant, cosine, linear, wsd

STEPS = np.array([0, 1, 4, 9, 10, 35, 60, 109, 110, 1000])
WARM = np.array([1 / 11, 2 / 11, 5 / 11, 10 / 11, 1, 1, 1, 1, 1, 1])  # warmup=10: the first step already moves


def values(shape):
    return [float(shape(jnp.int32(step))) for step in STEPS]


def test_a_constant_with_and_without_warm_up():
    np.testing.assert_array_equal(values(constant()), 1.0)
    np.testing.assert_allclose(values(constant(warmup=10)), WARM, rtol=1e-6)


def test_half_a_cosine_after_the_warm_up():
    share = np.clip((STEPS - 10) / 100, 0, 1)  # 0.25 at 35, 0.5 at 60, 0.99 at the last step, 109
    expected = WARM * (0.1 + 0.9 * 0.5 * (1 + np.cos(math.pi * share)))
    np.testing.assert_allclose(values(cosine(total_steps=110, warmup=10, end=0.1)), expected, rtol=1e-5)
    assert values(cosine(total_steps=110))[-1] == pytest.approx(0.0, abs=1e-7)


def test_a_straight_line_after_the_warm_up():
    expected = WARM * [1, 1, 1, 1, 1, 0.8, 0.6, 0.208, 0.2, 0.2]
    np.testing.assert_allclose(values(linear(total_steps=110, warmup=10, end=0.2)), expected, rtol=1e-5)


def test_stable_until_the_final_decay():
    expected = WARM * [1, 1, 1, 1, 1, 1, 1, 0.025, 0, 0]  # the decay begins at step 70
    np.testing.assert_allclose(values(wsd(total_steps=110, warmup=10, decay=40)), expected, rtol=1e-5, atol=1e-7)
    assert float(wsd(total_steps=110, warmup=10, decay=40)(jnp.int32(70))) == 1.0
    assert float(wsd(total_steps=110, warmup=10, decay=40, end=0.5)(jnp.int32(90))) == pytest.approx(0.75)


@pytest.mark.parametrize("make", [cosine, linear, wsd])
def test_the_length_of_the_run_is_an_argument_of_the_program(make):
    options = {"decay": 5.0} if make is wsd else {}
    run = jax.jit(lambda step, total, warmup, end: make(total_steps=total, warmup=warmup, end=end, **options)(step))
    for total, warmup, end in ((50, 0, 0.0), (20, 5, 0.5)):
        for step in (0, 3, 17, 49):
            constants = make(total_steps=total, warmup=warmup, end=end, **options)(jnp.int32(step))
            assert float(run(step, float(total), float(warmup), end)) == pytest.approx(float(constants), rel=1e-6)
    assert run._cache_size() == 1


def test_a_run_that_is_all_warm_up_has_no_division_by_zero():
    assert float(linear(total_steps=10, warmup=10)(jnp.int32(9))) == pytest.approx(10 / 11)
    assert math.isfinite(float(cosine(total_steps=5, warmup=10)(jnp.int32(4))))


def test_a_step_of_a_long_run_is_told_from_the_next():
    shape = linear(total_steps=1_000_000)
    assert float(shape(jnp.int32(999_998))) > float(shape(jnp.int32(999_999))) > 0
