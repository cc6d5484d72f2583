"""The table of all trials; a click on a column's name sorts by it."""

from __future__ import annotations

import re
from urllib.parse import quote

from bigtrain.sweep.report.axes import numbers, short
from bigtrain.sweep.report.svg import Markup, element, joined
from bigtrain.sweep.report.view import View
from bigtrain.sweep.trial import Trial
from bigtrain.tracking.console import clock

Cell = tuple[str, float | None, str]
"""What stands in a cell, what it is sorted by if that is a number, and its class."""

LONG = 10  # characters of a number, beyond which it is rounded


def trial_table(view: View) -> Markup:
    """All trials, the best first, then by score, then those without one."""
    sweep = view.sweep
    names = [
        "trial",
        "state",
        *sweep.keys,
        *(f"{goal.name} ({goal.mode})" for goal in sweep.objectives),
        "steps",
        "time",
    ]
    lineage = any(trial.parent is not None for trial in sweep.trials)
    names += [*(["parent"] if lineage else []), "run", *(["error"] if _failures(view) else [])]
    texts = {key for key in sweep.keys if any(_value(trial.values.get(key, ""))[1] is None for trial in sweep.trials)}
    texts |= {"state", "run", "error"}
    head = element("tr", *(_head(name, "" if name in texts else "n") for name in names))
    rows = joined(_row(view, trial, lineage=lineage) for trial in reversed(view.ordered()))
    return element("table", element("thead", head), element("tbody", rows), id="trials")


def _head(name: str, kind: str) -> Markup:
    return element("th", name, scope="col", tabindex="0", title=f"sort by {name}", class_=kind or None)


def _row(view: View, trial: Trial, *, lineage: bool) -> Markup:
    cells: list[Cell] = [(str(trial.number), trial.number, "n"), (_state(trial), None, f"state {trial.state}")]
    cells += [_value(trial.values.get(key, "")) for key in view.sweep.keys]
    scores = trial.last or (None,) * len(view.sweep.objectives)
    cells += [("" if value is None else _score(value), value, "n") for value in scores]
    cells += [(f"{trial.steps:,}", trial.steps, "n"), (clock(trial.seconds), trial.seconds, "n")]
    cells += [("" if trial.parent is None else str(trial.parent), trial.parent, "n")] if lineage else []
    shown = [element("td", text, data_v=_sorted_by(number), class_=kind or None) for text, number, kind in cells]
    shown.append(element("td", element("a", trial.directory, href=address(trial.directory))))
    if _failures(view):
        shown.append(element("td", trial.error or "", class_="error"))
    return element("tr", *shown, data_t=trial.number, class_=view.kind(trial))


def address(directory: str) -> str:
    """A relative link to a run directory, whatever its name is."""
    return f"./{quote(re.sub(r'[/]+$', '', directory))}/"


def _state(trial: Trial) -> str:
    """What it has come to; of one that rests before its last step, where it does."""
    return f"{trial.shown} at {trial.until:.0%}" if trial.shown == "resting" else trial.shown


def _failures(view: View) -> bool:
    return any(trial.error for trial in view.sweep.trials)


def _value(text: str) -> Cell:
    found = (numbers([text]) or [None])[0] if text else None
    if found is None:
        return text, None, ""
    return text if len(text) <= LONG else short(found), found, "n"


def _score(value: float) -> str:
    return short(value) if value == value and abs(value) != float("inf") else repr(value)


def _sorted_by(number: float | None) -> str | None:
    return None if number is None else repr(number)
