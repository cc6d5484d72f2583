"""Early stopping: a run ends once its validation score has not improved for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bigtrain.config.schema import EarlyStoppingConfig
from bigtrain.train.hooks import Periodic
from bigtrain.train.state import TrainState


def has_ended(waiting: Mapping[str, Any], cfg: EarlyStoppingConfig) -> bool:
    """Whether a run with this count has waited long enough."""
    return cfg.patience is not None and waiting.get("evaluations", 0) >= cfg.patience


@dataclass
class EarlyStopping(Periodic):
    """Counts the evaluations without improvement. Comes after the evaluation and before what saves.

    Args:
        every: how often the run is evaluated.
        cfg: how long to wait, and what counts as an improvement.
        monitor: the validation metric that is watched.
        mode: whether a smaller or a larger one is better.
        scores: the validation scores by step.
        waiting: the best score, its step, and the evaluations since; it is saved with every checkpoint.
        save: saves the state of the last step.
    """

    cfg: EarlyStoppingConfig
    monitor: str
    mode: Literal["min", "max"]
    scores: Mapping[int, dict[str, float]]
    save: Callable[[int, TrainState], None]
    waiting: dict[str, Any] = field(default_factory=dict)

    def __call__(self, step: int, state: TrainState) -> bool:
        """Whether the run is to end here; counted in any case, so that patience can be set when a run is continued."""
        score = self.scores.get(step, {}).get(self.monitor)
        if score is None:
            return False
        if self._improved(score):
            self.waiting.update(best=score, step=step, evaluations=0)
        else:
            self.waiting["evaluations"] += 1
        if has_ended(self.waiting, self.cfg):
            self.save(step, state)
            return True
        return False

    def _improved(self, score: float) -> bool:
        if "best" not in self.waiting:
            return True
        gain = self.waiting["best"] - score if self.mode == "min" else score - self.waiting["best"]
        return bool(gain > self.cfg.min_delta)
