"""Shapes of the learning rate over a run: factors of `optimizer.learning_rate`, each after a linear warm-up.

The curves are Optax's, evaluated over the fraction of the run that has passed, so the number of steps is an argument of
the compiled program like every other number.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from bigtrain.config.values import Fraction, Steps

Shape = Callable[[jax.Array], jax.Array]
"""step (int32 []) -> factor of the learning rate (f32 [])"""


def constant(*, warmup: Steps = 0) -> Shape:
    """The full learning rate after the warm-up.

    Args:
        warmup: how long the rate grows linearly from 0 to its full value.
    """
    return lambda step: _warm(step, warmup)


def cosine(*, total_steps: float, warmup: Steps = 0, end: Fraction = 0.0) -> Shape:
    """Half a cosine from the full learning rate to `end` (Loshchilov & Hutter 2017, without restarts).

    Args:
        total_steps: steps of the run.
        warmup: how long the rate grows linearly from 0 to its full value.
        end: the factor when the last step has been taken.
    """
    curve = optax.cosine_decay_schedule(1.0, decay_steps=1, alpha=end)
    return lambda step: _warm(step, warmup) * curve(_fraction(step, warmup, total_steps))


def linear(*, total_steps: float, warmup: Steps = 0, end: Fraction = 0.0) -> Shape:
    """A straight line from the full learning rate to `end`.

    Args:
        total_steps: steps of the run.
        warmup: how long the rate grows linearly from 0 to its full value.
        end: the factor when the last step has been taken.
    """
    curve = optax.linear_schedule(1.0, end, transition_steps=1)
    return lambda step: _warm(step, warmup) * curve(_fraction(step, warmup, total_steps))


def wsd(*, total_steps: float, warmup: Steps = 0, decay: Steps = "20%", end: Fraction = 0.0) -> Shape:  # type: ignore[assignment]
    """Warm-up, stable, decay: constant, then a straight line to `end` at the end of the run (Hu et al. 2024).

    Args:
        total_steps: steps of the run.
        warmup: how long the rate grows linearly from 0 to its full value.
        decay: how long the final decay takes.
        end: the factor when the last step has been taken.
    """
    curve = optax.linear_schedule(1.0, end, transition_steps=1)
    return lambda step: _warm(step, warmup) * curve(_fraction(step, total_steps - decay, total_steps))


def _warm(step: jax.Array, warmup: float) -> jax.Array:
    """Linear growth that reaches 1 at step `warmup`; the first step already moves."""
    return jnp.minimum(1.0, (step + 1.0) / (jnp.asarray(warmup, jnp.float32) + 1.0))


def _fraction(step: jax.Array, start: float, end: float) -> jax.Array:
    """How much of [start, end] has passed at `step`, within [0, 1]."""
    length = jnp.maximum(jnp.asarray(end, jnp.float32) - start, 1.0)
    return jnp.clip((step - jnp.asarray(start, jnp.float32)) / length, 0.0, 1.0)
