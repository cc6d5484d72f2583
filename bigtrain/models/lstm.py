"""The LSTM's recurrence and its gradient, written out: what is kept of a step is one array of gates and its state.

JAX's own gradient of the same scan keeps eight arrays a step, each written and read by a call of its own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bigtrain.parallel.naming import batched, named

State = tuple[jax.Array, jax.Array]  # hidden state and memory, [B, H] each
Where = tuple[Bool[Array, "T B"] | None, Bool[Array, "T B"] | None]


def activated(gates: Float[Array, "*B 4*H"]) -> Float[Array, "*B 4*H"]:
    """Sigmoids of input, forget and output gate and the tanh of the candidate, by one function over all of them.

    σ(x) = ½ tanh(½ x) + ½.
    """
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5]), gates.shape[-1] // 4)
    scales, shift = (jnp.asarray(each, gates.dtype) for each in (scale, 1.0 - scale))
    return jnp.tanh(gates * scales) * scales + shift


def following(memory: Float[Array, "*B H"], gates: Float[Array, "*B 4*H"]) -> State:
    """The next state from activated gates (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""
    i, f, g, o = jnp.split(gates, 4, -1)
    memory = f * memory + i * g
    return o * jnp.tanh(memory), memory


def scan(
    reverse: bool, weights: Float[Array, "H 4*H"], where: Where, projected: Float[Array, "T B 4*H"], initial: State
) -> tuple[State, jax.Array, tuple[jax.Array, jax.Array]]:
    """The last state, the hidden states [T, B, H], and what the gradient needs: gates and memory of each step.

    The gates of a step are written where the input's share of them was read: memory that is near already, and that XLA
    needn't fill with zeros before (benchmarks/LOG.md).
    """

    def body(carry: tuple[State, jax.Array], xs: tuple[Any, ...]) -> tuple[tuple[State, jax.Array], State]:
        (state, gates), (step, exists, start) = carry, xs
        state, (exists, start) = batched((state, (exists, start)))
        if start is not None:
            state = _zero(start, state)
        used = activated(_at(step, gates) + batched(state[0] @ weights))
        new = following(state[1], used)
        if exists is not None:
            new = (jnp.where(exists[:, None], new[0], state[0]), jnp.where(exists[:, None], new[1], state[1]))
        return (new, _put(used, step, gates)), new

    steps = jnp.arange(len(projected))
    (last, gates), (hidden, memory) = jax.lax.scan(body, (initial, projected), (steps, *where), reverse=reverse)
    return last, hidden, (gates, memory)


def pull(
    reverse: bool,
    weights: Float[Array, "H 4*H"],
    where: Where,
    kept: tuple[jax.Array, jax.Array],
    initial: State,
    grads: tuple[State, Float[Array, "T B H"]],
) -> tuple[Float[Array, "T B 4*H"], State]:
    """The gradients by the gates before their activation and by the initial state.

    What doesn't depend on the step after is computed for all steps at once; the scan only multiplies by it, and leaves
    its result in the same place.
    """
    gates, memory = (named(part, None, "batch", None) for part in kept)
    i, f, g, o = jnp.split(gates, 4, -1)
    shown, before, back = jnp.tanh(memory), shifted(memory, initial[1], where[1], reverse), weights.T
    of_shown, of_hidden = o * (1 - shown * shown), shown * o * (1 - o)
    of_gates = jnp.concatenate([g * i * (1 - i), before * f * (1 - f), i * (1 - g * g), of_hidden], axis=-1)

    def body(carry: tuple[State, jax.Array], xs: tuple[Any, ...]) -> tuple[tuple[State, jax.Array], None]:
        (state, by_gates), (step, *rest) = carry, xs
        state, (of_shown, forget, given, exists, start) = batched((state, rest))
        by_hidden, by_memory = state[0] + given, state[1]
        passed: State | None = None
        if exists is not None:
            passed = _zero(exists, (by_hidden, by_memory))
            by_hidden, by_memory = _zero(~exists, (by_hidden, by_memory))
        by_memory = by_memory + by_hidden * of_shown
        of_memory, of_hidden = jnp.split(_at(step, by_gates), [by_memory.shape[-1] * 3], -1)
        found = jnp.concatenate([jnp.tile(by_memory, (1, 3)) * of_memory, by_hidden * of_hidden], axis=-1)
        by_state = (batched(found @ back), by_memory * forget)
        if passed is not None:
            by_state = (by_state[0] + passed[0], by_state[1] + passed[1])
        by_state = by_state if start is None else _zero(start, by_state)
        return (by_state, _put(found, step, by_gates)), None

    xs = (jnp.arange(len(gates)), of_shown, f, grads[1], *where)
    (by_initial, by_gates), _ = jax.lax.scan(body, (grads[0], of_gates), xs, reverse=not reverse)
    return by_gates, by_initial


def shifted(
    values: Float[Array, "T B H"], initial: Float[Array, "B H"], starts: Bool[Array, "T B"] | None, reverse: bool
) -> Float[Array, "T B H"]:
    """What each step began with, from what each left behind."""
    parts = [values[1:], initial[None]] if reverse else [initial[None], values[:-1]]
    before = jnp.concatenate(parts)
    return before if starts is None else jnp.where(starts[..., None], 0, before)


def _at(step: jax.Array, values: Float[Array, "T B G"]) -> Float[Array, "B G"]:
    """The values of one step."""
    found: jax.Array = jax.lax.dynamic_index_in_dim(named(values, None, "batch", None), step, keepdims=False)
    return batched(found)


def _put(found: Float[Array, "B G"], step: jax.Array, values: Float[Array, "T B G"]) -> Float[Array, "T B G"]:
    """The values with those of one step replaced."""
    return named(jax.lax.dynamic_update_index_in_dim(values, batched(found), step, 0), None, "batch", None)


def _zero(rows: Bool[Array, " B"], state: State) -> State:
    """The state with some of its rows set to zero."""
    hidden, memory = (jnp.where(rows[:, None], 0, part) for part in state)
    return hidden, memory
