"""The state with the best validation score so far: saved at once, or held until the next checkpoint is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bigtrain.train.hooks import Periodic, Save
from bigtrain.train.state import TrainState

HELD_BYTES = 1 << 27  # a larger state is written at once: a second one would take too much memory


@dataclass
class SaveBest(Periodic):
    """Saves the state when its validation score is the best so far.

    A run of a second would spend most of it on writing states that are soon beaten. Where it `holds`, or has just
    saved, the best is copied, and written before the next checkpoint or at the end. A run that is killed in between
    does those steps, and their evaluations, again.
    """

    saver: Save
    holds: bool = False

    def __call__(self, step: int, state: TrainState) -> None:
        """Saves if the evaluation of this step was the best."""
        scores, held = self.saver.scores.get(step), self.saver.held
        checkpoints = self.saver.checkpoints
        if held is not None and not checkpoints.beats(scores, held.meta["scores"]):
            return
        if not checkpoints.improves(scores):
            return
        holds = self.holds or self.saver.when.recent()
        if holds and sum(leaf.nbytes for leaf in jax.tree.leaves(state.as_dict())) <= HELD_BYTES:
            with self.saver.log.clock.part("checkpoint"):
                copied = _copied(state.as_dict())  # the state's own memory is reused
                self.saver.held = Held(step, copied, self.saver.described(step, state))
        else:
            self.saver.save(step, state)


_copied = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
"""One program for all leaves: a call for each of them takes longer than the copy."""


@dataclass(frozen=True)
class Held:
    """A state that will be a checkpoint."""

    step: int
    state: Mapping[str, Any]
    meta: Mapping[str, Any]
