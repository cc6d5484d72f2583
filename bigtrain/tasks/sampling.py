"""How the next token is drawn from logits, and how texts go on from prompts of unequal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bigtrain.config.errors import ConfigError, InputError


@dataclass(frozen=True)
class Draw:
    """Which tokens may be drawn, and how boldly.

    Args:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draws from the k likeliest tokens alone; 0 is all of them.
        top_p: draws from the fewest tokens that together have this probability (Holtzman et al. 2020, nucleus).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __call__(self, key: jax.Array, logits: Float[Array, "B V"]) -> Int[Array, " B"]:
        """One token a row."""
        if self.temperature == 0:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        allowed = kept(logits.astype(jnp.float32) / self.temperature, self.top_k, self.top_p)
        return jax.random.categorical(key, allowed).astype(jnp.int32)


def kept(logits: Float[Array, "B V"], top_k: int, top_p: float) -> Float[Array, "B V"]:
    """The logits, with −inf for the tokens that may not be drawn; of equally likely ones the first are kept.

    The nucleus is taken of what the k likeliest leave, with their probabilities made to add up to 1 again.
    """
    size = logits.shape[-1]
    if not 0 < top_k < size and top_p >= 1:
        return logits
    order = jnp.argsort(-logits, axis=-1, stable=True)
    falling = jnp.take_along_axis(logits, order, axis=-1)
    keep = jnp.broadcast_to(jnp.arange(size) < (top_k or size), logits.shape)
    if top_p < 1:
        probabilities = jax.nn.softmax(jnp.where(keep, falling, -jnp.inf), axis=-1)
        keep &= jnp.cumsum(probabilities, axis=-1) - probabilities < top_p  # the likelier ones don't have it yet
        keep = keep.at[:, 0].set(True)
    ranks = jnp.argsort(order, axis=-1)
    return jnp.where(jnp.take_along_axis(keep, ranks, axis=-1), logits, -jnp.inf)


@dataclass(frozen=True)
class Prompts:
    """Texts to continue: tokens [N, P], of which row `i` has `lengths[i]`; what follows in a row has no influence."""

    tokens: jax.Array
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, texts: Sequence[Any] | np.ndarray | jax.Array, number: int) -> Prompts:
        """Each of the texts `number` times in a row."""
        rows = [np.asarray(text, np.int32) for text in texts]
        if not rows or not all(row.ndim == 1 and len(row) for row in rows):
            raise InputError("a prompt needs at least one token")
        tokens = np.zeros((len(rows), max(map(len, rows))), np.int32)
        for row, text in zip(tokens, rows, strict=True):
            row[: len(text)] = text
        lengths = tuple(len(row) for row in rows for _ in range(number))
        return cls(jnp.asarray(np.repeat(tokens, number, axis=0)), lengths)


def generate(
    model: Any, prompts: Prompts, length: int, draw: Draw, key: jax.Array, end: int | None
) -> Int[Array, "N T"]:
    """The prompts [N, P], and up to `length` tokens after each: [N, P + length].

    All rows move on together. Where a row's prompt goes on, its token is taken, else one is drawn; so a short prompt
    gets more than `length` tokens, of which only the first are its answer. A row that drew the end token is filled with
    it.
    """
    number, width = prompts.tokens.shape
    shared = min(prompts.lengths)  # up to here no row draws
    lengths = jnp.asarray(prompts.lengths)
    stop = -1 if end is None else end  # -1 is never drawn

    def read(carry: Any, tokens: jax.Array) -> tuple[Any, None]:
        return model.step(carry, tokens)[0], None

    def write(carry: Any, step: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        state, tokens, ended = carry
        at, given, key = step  # place of the new token, the prompts' tokens there
        state, logits = model.step(state, tokens)
        new = jnp.where(at < lengths, given, jnp.where(ended, stop, draw(key, logits)))
        return (state, new, ended | ((at >= lengths) & (new == stop))), new

    state, _ = jax.lax.scan(read, model.initial(number, width + length - 1), prompts.tokens.T[: shared - 1])
    places = jnp.arange(shared, width + length)
    given = jnp.pad(prompts.tokens.T[shared:], ((0, length), (0, 0)))
    first = (state, prompts.tokens[:, shared - 1], jnp.zeros(number, bool))
    _, new = jax.lax.scan(write, first, (places, given, jax.random.split(key, len(places))))
    return jnp.concatenate([prompts.tokens[:, :shared], new.T], axis=1)


def fitting(model: Any, prompt: int, length: int, *, shorten: bool) -> int:
    """How many tokens can follow a prompt: `length`, unless the model's context is too short for them.

    Args:
        model: refuses a state for more tokens than its context has by a `ConfigError`.
        prompt: tokens that come first.
        length: tokens asked for.
        shorten: take as many as fit rather than refuse.
    """
    read = prompt + length - 1  # the last token that is drawn isn't read
    if _admits(model, read):
        return length
    low, high = 0, read
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _admits(model, middle) else (low, middle)
    most = low - prompt + 1
    if shorten and most > 0:
        return most
    problem = f"the model reads at most {low:,} tokens"
    if most < 1:
        raise InputError(f"--prompt: {problem}, and the prompt has {prompt:,}")
    after = f", of which the prompt takes {prompt:,}" if prompt > 1 else ""
    raise InputError(f"--length: {length:,} is too long: {problem}{after}\n  try --length {most}")


def _admits(model: Any, tokens: int) -> bool:
    try:
        jax.eval_shape(lambda: model.initial(1, tokens))
    except ConfigError:
        return False
    return True
