"""A run that rests before its last step: scored and saved, to go on later as if it had never stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from bigtrain.train.hooks import Periodic
from bigtrain.train.state import TrainState


@dataclass
class Rest(Periodic):
    """Ends the run for now at step `every`. Comes after the evaluation, and before nothing.

    The scores aren't logged unless an evaluation is due at that step anyway: the log of a run that rested is that of
    one that didn't.

    Args:
        every: the step at which the run rests.
        score: gives the validation scores of a state; None without a validation split.
        scores: the validation scores by step; those of a checkpoint are kept with it.
        save: saves the state.
    """

    score: Callable[[TrainState], dict[str, float]] | None
    scores: dict[int, dict[str, float]]
    save: Callable[[int, TrainState], None]
    settle: Callable[[TrainState], None]

    def after(self, step: int) -> int:
        """The step at which the run rests, once."""
        return self.every if step < self.every else sys.maxsize

    def __call__(self, step: int, state: TrainState) -> bool:
        """Scores, saves, and ends the run; it does nothing at another step, where the run ends for good."""
        if step != self.every:
            return False
        self.settle(state)
        if step not in self.scores and self.score is not None:
            self.scores[step] = self.score(state)
        self.save(step, state)
        return True
