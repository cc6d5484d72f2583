"""Configurations that were trained with several seeds: the mean and the spread of their scores.

The best of many trials owes part of its place to its seed; a mean owes less (Henderson et al. 2018).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bigtrain.sweep.report.axes import short
from bigtrain.sweep.report.svg import Markup, element, joined
from bigtrain.sweep.results import Sweep, score
from bigtrain.sweep.trial import Trial

KEY = "seed"
ROWS = 30  # of the table at most


@dataclass(frozen=True)
class Repeated:
    """One configuration and its trials, which differ in the seed alone.

    Args:
        trials: those that trained to their end.
        lost: how many have failed.
        mean: of the first objective.
        deviation: of the sample; None for a single trial.
    """

    trials: tuple[Trial, ...]
    lost: int
    mean: float
    deviation: float | None


def repeated(sweep: Sweep) -> list[Repeated]:
    """The configurations by their mean, the best first; empty unless the seed was swept and something besides."""
    others = [key for key in sweep.keys if key != KEY]
    if KEY not in sweep.keys or not others:
        return []
    groups: dict[tuple[str | None, ...], list[Trial]] = {}
    for trial in sweep.trials:
        groups.setdefault(tuple(trial.values.get(key) for key in others), []).append(trial)
    found = []
    for trials in groups.values():
        ended = [trial for trial in trials if trial.state == "done" and trial.until >= 1.0 and score(trial) is not None]
        scores = [value for trial in ended if (value := score(trial)) is not None]
        if scores:
            spread = statistics.stdev(scores) if len(scores) > 1 else None
            lost = sum(trial.state == "failed" for trial in trials)
            found.append(Repeated(tuple(ended), lost, statistics.fmean(scores), spread))
    sign = 1 if sweep.objectives[0].mode == "min" else -1
    found.sort(key=lambda one: (sign * one.mean, one.trials[0].number))
    return found if any(len(one.trials) > 1 for one in found) else []


def seeds_table(sweep: Sweep) -> Markup:
    """A row a configuration, the best mean first; empty where no seeds were swept."""
    found = repeated(sweep)
    if not found:
        return Markup()
    keys = [key for key in sweep.keys if key != KEY]
    names = [*keys, f"mean {sweep.objectives[0].name}", "± deviation", "seeds"]
    names += ["failed"] if (failures := any(one.lost for one in found)) else []
    head = element("tr", *(element("th", name, scope="col", class_=None if name in keys else "n") for name in names))
    rows = []
    for one in found[:ROWS]:
        spread = "" if one.deviation is None else f"± {one.deviation:.2g}"
        cells = [one.trials[0].values.get(key, "") for key in keys]
        numbers = [short(one.mean), spread, str(len(one.trials)), *([str(one.lost)] if failures else [])]
        rows.append(
            element(
                "tr", *(element("td", text) for text in cells), *(element("td", text, class_="n") for text in numbers)
            )
        )
    more = element("p", f"and {len(found) - ROWS} more", class_="note") if len(found) > ROWS else Markup()
    table = element("table", element("thead", head), element("tbody", joined(rows)), class_="seeds")
    return element("div", table, more, class_="wide")
