"""Whether a state is finite, and steps whose update is left out because it would not be, or because it is a spike."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bigtrain.config.errors import RunError
from bigtrain.metrics import Mean
from bigtrain.optim.spikes import ratio
from bigtrain.train.state import TrainState

SKIPPED = "skipped"
"""The metric that is 1 for a step of which the update was left out; only programs that leave any out have it."""


class Diverged(RunError):
    """A number is not finite any more after `step` steps; it may have been so for some steps."""

    def __init__(self, step: int, what: str = "the training state") -> None:
        super().__init__(f"{what} of step {step:,} is not finite")
        self.step, self.what = step, what


def all_finite(tree: Any) -> jax.Array:
    """Whether every real number in a tree of arrays is finite; inside a program."""
    real = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    # A number less itself is 0, or NaN if it is not finite. Not the largest one of each: on a CPU, XLA's maximum of
    # some thousand numbers leaves NaN out (benchmarks/LOG.md). A conjunction takes three times as long.
    return jnp.all(jnp.array([jnp.sum(leaf - leaf) == 0 for leaf in real]))


is_finite = jax.jit(all_finite)
"""The same for arrays; blocks nothing until its result is read."""


def compile_for(state: TrainState) -> None:
    """Compiles `is_finite` for states of these shapes and shardings, so that no run has to beside its first steps."""
    is_finite.lower(state.as_dict()).compile()


def guarded(
    before: TrainState, after: TrainState, metrics: dict[str, Mean], *, nonfinite: bool, spikes: jax.Array | None
) -> tuple[TrainState, dict[str, Mean]]:
    """The state and metrics of a step, or those before it where its update is left out.

    Then the step is counted and nothing else changes, not even in the last bit, and its metrics have no weight.

    Args:
        before: the state before the step.
        after: and after it.
        metrics: of the step.
        nonfinite: whether a step is left out whose loss or state is not finite.
        spikes: how many times its running average the norm of the gradient may be; None is any number.
    """
    refused = jnp.zeros((), bool)
    if spikes is not None:
        refused |= ratio(after.opt_state) > spikes  # a norm that is not finite is no spike: it compares as false
    if nonfinite:
        refused |= ~all_finite((metrics["loss"].total, after))
    metrics = jax.tree.map(lambda value: jnp.where(refused, jnp.zeros_like(value), value), metrics)
    kept = jax.tree.map(lambda new, old: jnp.where(refused, old, new), after, before)
    metrics[SKIPPED] = Mean(refused.astype(jnp.float32), jnp.ones(()))
    return TrainState(after.step, kept.params, kept.rest, kept.opt_state, kept.ema), metrics
