"""The Pareto front: the trials that no other beats in every objective."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bigtrain.sweep.trial import Objective, Trial


def front(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """The trials that trained to their end and are not dominated, by the first objective, the best first.

    One dominates another if it is no worse in any objective and better in at least one. Equals both stay.
    """
    signs = [1.0 if objective.mode == "min" else -1.0 for objective in objectives]
    scored: list[tuple[tuple[float, ...], Trial]] = []
    for trial in trials:
        if trial.state == "done" and trial.until >= 1.0 and trial.last is not None:
            values = tuple(sign * value for sign, value in zip(signs, trial.last, strict=True))
            if all(math.isfinite(value) for value in values):
                scored.append((values, trial))
    scored.sort(key=lambda item: (item[0], item[1].number))
    kept: list[tuple[tuple[float, ...], Trial]] = []
    for values, trial in scored:  # in this order only an earlier one can dominate
        if not any(_dominates(other, values) for other, _ in kept):
            kept.append((values, trial))
    return [trial for _, trial in kept]


def _dominates(left: Sequence[float], right: Sequence[float]) -> bool:
    return left != right and all(one <= other for one, other in zip(left, right, strict=True))
