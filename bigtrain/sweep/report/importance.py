"""How much each swept key decides: the share of the objective's variance that it explains by itself.

The main effects of a functional ANOVA (Hutter, Hoos and Leyton-Brown 2014), taken from the trials themselves instead of
a random forest fitted to them, and of the objective's ranks, so that one run that diverged doesn't decide alone (what
Watanabe, Bansal and Hutter 2023 answer with PED-ANOVA). A key with many values explains something by chance, which is
taken off: the estimate is ε² (Kelley 1935).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bigtrain.sweep.report.axes import numbers
from bigtrain.sweep.results import Sweep
from bigtrain.sweep.trial import Trial

BINS = 5  # groups of a key that was drawn from an interval
FEWEST = 6  # trials, below which chance decides

HOW = (
    "Share of the variance of the trials' ranks that a key explains by itself: a one-way analysis of variance over its "
    f"values, or over up to {BINS} equally filled groups of an interval, less what chance alone would explain (ε²). "
    "These are the main effects of a functional ANOVA (Hutter et al. 2014); ranks keep one diverged run from deciding "
    "alone, the concern of PED-ANOVA (Watanabe et al. 2023). The rest is what keys do together, and noise."
)


@dataclass(frozen=True)
class Importance:
    """What each key explains of one objective.

    Args:
        objective: its name.
        shares: by key, between 0 and 1; None where there are too few trials to tell.
        trials: how many were compared.
        at: the share of the run's steps at which they were.
    """

    objective: str
    shares: dict[str, float | None]
    trials: int
    at: float


def importance(sweep: Sweep, objective: int = 0) -> Importance:
    """The keys of a sweep by what they explain, the largest first."""
    at, compared = comparable(sweep.trials, objective)
    ranks = _ranks([trial.scores[at][objective] for trial in compared])
    shares = {key: explained([trial.values.get(key) for trial in compared], ranks) for key in sweep.keys}
    ordered = sorted(shares.items(), key=lambda item: -1.0 if item[1] is None else item[1], reverse=True)
    return Importance(sweep.objectives[objective].name, dict(ordered), len(compared), at)


def comparable(trials: Sequence[Trial], objective: int) -> tuple[float, list[Trial]]:
    """The trials measured after the same share of their steps: the share at which most were, the latest of equals."""
    counts: dict[float, int] = {}
    for trial in trials:
        for at, values in trial.scores.items():
            counts[at] = counts.get(at, 0) + math.isfinite(values[objective])
    at = max(counts, key=lambda at: (counts[at], at), default=1.0)
    return at, [trial for trial in trials if at in trial.scores and math.isfinite(trial.scores[at][objective])]


def explained(texts: Sequence[str | None], values: Sequence[float]) -> float | None:
    """ε² of `values` over the groups of `texts`; None without two groups and enough in them."""
    groups: dict[int, list[float]] = {}
    for group, value in zip(_grouped(texts), values, strict=True):
        groups.setdefault(group, []).append(value)
    number, total = len(groups), len(values)
    if total < FEWEST or number < 2 or total < 2 * number:
        return None
    mean = sum(values) / total
    whole = sum((value - mean) ** 2 for value in values)
    if whole == 0:
        return 0.0
    within = sum((value - sum(group) / len(group)) ** 2 for group in groups.values() for value in group)
    by_chance = (number - 1) * within / (total - number)
    return max((whole - within - by_chance) / whole, 0.0)


def _grouped(texts: Sequence[str | None]) -> list[int]:
    """The group of each trial: its value; of a key with nearly as many numbers as trials, a stretch of them."""
    distinct = list(dict.fromkeys(texts))
    values = [value for value in numbers(texts) or () if value is not None]
    if len(values) < len(texts) or len(distinct) <= max(BINS, len(texts) // 4):
        return [distinct.index(text) for text in texts]
    bins = max(min(BINS, len(texts) // 3), 2)
    order = sorted(set(values))
    return [order.index(value) * bins // len(order) for value in values]


def _ranks(values: Sequence[float]) -> list[float]:
    """1 for the smallest; equals share the mean of theirs."""
    order = sorted(values)
    first: dict[float, int] = {}
    for at, value in enumerate(order):
        first.setdefault(value, at)
    counts = {value: order.count(value) for value in first} if len(first) < len(order) else dict.fromkeys(first, 1)
    return [first[value] + (counts[value] + 1) / 2 for value in values]
