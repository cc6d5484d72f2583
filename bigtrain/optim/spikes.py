"""Spikes of the gradient: its norm beside a running average of the norms before, kept in the optimizer's state.

There it is saved, restored and placed as the rest of that state is. The transformation changes no gradient: a training
step that finds the norm too large leaves out the whole update, and with it this step's part in the average.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

MEMORY = 100  # steps that the average goes back, about
JUDGED = 20  # steps before any is judged: the first norms of a run say little of the later ones


class Norms(NamedTuple):
    """What is known of the norms of the gradient."""

    average: jax.Array  # f32 []
    seen: jax.Array  # int32 []
    ratio: jax.Array  # f32 []: of the newest to the average before it; 0 while none is judged


def compared() -> optax.GradientTransformationExtraArgs:
    """Passes gradients on as they are, and keeps `Norms`."""

    def init(params: Any) -> Norms:
        return Norms(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros(()))

    def update(updates: Any, state: Norms, params: Any = None, **_: Any) -> tuple[Any, Norms]:
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(updates))).astype(jnp.float32)
        seen = jnp.minimum(state.seen + 1, MEMORY)
        ratio = jnp.where((state.seen >= JUDGED) & (state.average > 0), norm / state.average, 0.0)
        return updates, Norms(state.average + (norm - state.average) / seen, seen, ratio)

    return optax.GradientTransformationExtraArgs(init, update)


def ratio(opt_state: Any) -> jax.Array:
    """How many times the average the newest norm was, from the state of a rule behind `compared`."""
    found: jax.Array = opt_state[0].ratio
    return found
