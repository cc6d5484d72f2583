"""The loop over the steps of a dispatch, of a length that is known only when it runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import jax

from bigtrain.data.placement import Feed
from bigtrain.data.spec import Spec
from bigtrain.parallel.naming import target
from bigtrain.train.state import TrainState

Carry = TypeVar("Carry")
BLOCK = 16  # steps that a GPU does without a look at how many there are to do
SMALL = 2e9  # operations of a step that a GPU has done before it has looked


def block(spec: Spec, state: TrainState, feed: Feed) -> int:
    """How many steps are done between two looks at how many there are to do.

    On a GPU the host looks, after every round of a loop of unknown length, and the device waits for it: 13 µs, which is
    nothing for most models and a third of a step of a small one.
    """
    if target().platform != "gpu":
        return 1
    leading = (feed[1] if isinstance(feed, tuple) else next(iter(feed.values()))).shape[1]
    tokens = math.prod(spec.inputs.shape) if spec.inputs.kind == "tokens" else 1
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return BLOCK if 6.0 * parameters * leading * tokens < SMALL else 1


def loop(number: jax.Array, size: int, body: Callable[[jax.Array, Carry], Carry], carry: Carry) -> Carry:
    """`body(step, carry)` for the steps from 0 to `number`: blocks of `size`, then one by one what is left.

    XLA compiles the body twice, to the same instructions.
    """
    if size == 1:
        return jax.lax.fori_loop(0, number, body, carry)

    def whole(at: jax.Array, carry: Carry) -> Carry:
        return jax.lax.fori_loop(0, size, lambda step, inner: body(at * size + step, inner), carry)

    carry = jax.lax.fori_loop(0, number // size, whole, carry)
    return jax.lax.fori_loop(number // size * size, number, body, carry)


def bodies(size: int) -> int:
    """How often the body is in such a loop where one of unknown length counts as one round."""
    return 1 if size == 1 else size + 1
