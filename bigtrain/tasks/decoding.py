"""Writing a sequence token by token: the likeliest token each time, or a beam of hypotheses; pure functions.

Legend of dim letters: B sequences, K hypotheses of each, T tokens at most, V symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Carry = Any
Step = Callable[[Carry, jax.Array], tuple[Carry, jax.Array]]
"""(carry, tokens [N]) -> carry, logits [N, V]; a carry's arrays begin with N, or are scalars."""

LOWEST = -1e30  # a logarithm of a probability that loses against every other, and still can be added to


@dataclass(frozen=True)
class Ends:
    """The token that a sequence begins after, the one that it ends with, and how many tokens it has at most."""

    start: int
    end: int
    length: int


def greedy(step: Step, carry: Carry, batch: int, ends: Ends) -> tuple[Int[Array, "B T"], Float[Array, " B"]]:
    """The likeliest token at each step, up to the end token, and end tokens after it.

    Returns:
        The tokens; and the log probability of each sequence in nats, the end token's among them.
    """
    tokens = jnp.full((batch, ends.length), ends.end, jnp.int32)
    last, done = jnp.full(batch, ends.start, jnp.int32), jnp.zeros(batch, bool)
    state = (jnp.int32(0), carry, tokens, last, jnp.zeros(batch, jnp.float32), done)

    def going_on(state: Any) -> jax.Array:
        return (state[0] < ends.length) & ~jnp.all(state[-1])

    def write(state: Any) -> Any:
        at, carry, tokens, last, total, done = state
        carry, logits = step(carry, last)
        log_probability = jax.nn.log_softmax(logits.astype(jnp.float32))
        last = jnp.where(done, ends.end, jnp.argmax(log_probability, -1).astype(jnp.int32))
        gained = jnp.take_along_axis(log_probability, last[:, None], 1)[:, 0]
        total = total + jnp.where(done, 0.0, gained)
        return at + 1, carry, tokens.at[:, at].set(last), last, total, done | (last == ends.end)

    _, _, tokens, _, total, _ = jax.lax.while_loop(going_on, write, state)
    return tokens, total


def beam(
    step: Step, carry: Carry, batch: int, ends: Ends, *, size: int, penalty: Float[Array, ""] | float = 0.0
) -> tuple[Int[Array, "B T"], Float[Array, " B"]]:
    """The best of the hypotheses that a beam of `size` finds (Sutskever et al. 2014).

    A hypothesis that ends keeps its place, and the others go on with one place fewer. The best is the one of greatest
    log probability / ((5 + tokens) / 6)^penalty (Wu et al. 2016), the end among its tokens; an ended one if there is
    any.

    Args:
        step: one token further, for all hypotheses at once.
        carry: the state before the first token, with `size` rows for each sequence: row b * size + k.
        batch: sequences.
        ends: start, end and greatest length.
        size: hypotheses of each sequence; one is greedy.
        penalty: 0 compares log probabilities as they are; more favours longer sequences.

    Returns:
        The tokens, with end tokens after the first; and the log probability of each sequence in nats.
    """
    tokens = jnp.full((batch, size, ends.length), ends.end, jnp.int32)
    last, done = jnp.full((batch, size), ends.start, jnp.int32), jnp.zeros((batch, size), bool)
    total = jnp.broadcast_to(jnp.where(jnp.arange(size) == 0, 0.0, LOWEST), (batch, size))  # one at first, not K alike
    counts = jnp.zeros((batch, size), jnp.int32)
    state = (jnp.int32(0), carry, tokens, last, total, counts, done)

    def going_on(state: Any) -> jax.Array:
        return (state[0] < ends.length) & ~jnp.all(state[-1])

    def write(state: Any) -> Any:
        at, carry, tokens, last, total, counts, done = state
        carry, logits = step(carry, last.reshape(-1))
        gained = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(batch, size, -1)
        total, parent, last = _best(total, gained, done, ends.end)
        done, counts = (jnp.take_along_axis(one, parent, 1) for one in (done, counts))
        tokens = jnp.take_along_axis(tokens, parent[..., None], 1)
        counts = counts + ~done
        carry = jax.tree.map(lambda leaf: _continued(leaf, parent), carry)
        ended = (last == ends.end) & (total > LOWEST / 2)  # not what only fills a beam wider than the choice
        return at + 1, carry, tokens.at[:, :, at].set(last), last, total, counts, done | ended

    _, _, tokens, _, total, counts, done = jax.lax.while_loop(going_on, write, state)
    score = total / ((5.0 + counts) / 6.0) ** penalty
    ended = jnp.any(done, axis=1, keepdims=True)
    chosen = jnp.argmax(jnp.where(done | ~ended, score, 2 * LOWEST), axis=1)
    rows = jnp.arange(batch)
    return tokens[rows, chosen], total[rows, chosen]


def _continued(leaf: jax.Array, parent: Int[Array, "B K"]) -> jax.Array:
    """The state of each new hypothesis from that of its parent; sequences stay where they are on a mesh."""
    if jnp.ndim(leaf) == 0:
        return leaf
    apart = leaf.reshape(*parent.shape, *leaf.shape[1:])
    return jax.vmap(lambda one, places: one[places])(apart, parent).reshape(leaf.shape)


def _best(
    total: Float[Array, "B K"], gained: Float[Array, "B K V"], done: Bool[Array, "B K"], end: int
) -> tuple[Float[Array, "B K"], Int[Array, "B K"], Int[Array, "B K"]]:
    """The K continuations kept: all that have ended, as they are, and of the others the likeliest.

    Returns:
        Log probabilities, the hypotheses they continue, and their new tokens.
    """
    size, symbols = gained.shape[1:]
    same = jnp.where(jnp.arange(symbols) == end, 0.0, LOWEST)  # what has ended has one continuation: itself
    totals = total[..., None] + jnp.where(done[..., None], same, gained)
    rank = jnp.where(done[..., None] & (same == 0.0), -LOWEST, totals)  # above every other
    _, places = jax.lax.top_k(rank.reshape(len(total), -1), size)
    kept = jnp.take_along_axis(totals.reshape(len(total), -1), places, 1)
    return kept, places // symbols, (places % symbols).astype(jnp.int32)
