"""`report.html`: what a sweep found, on one page that needs nothing but a browser.

The page loads nothing: its policy forbids every address, and of scripts and styles it allows the two that are in it, by
their hash. So even a value that got around the escaping could not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from pathlib import Path

from bigtrain.sweep.report.axes import short
from bigtrain.sweep.report.curve_chart import curve_chart
from bigtrain.sweep.report.front import front
from bigtrain.sweep.report.front_chart import front_charts
from bigtrain.sweep.report.importance import HOW, importance
from bigtrain.sweep.report.importance_chart import importance_chart
from bigtrain.sweep.report.lineage_chart import lineage_chart
from bigtrain.sweep.report.parallel_chart import parallel_chart
from bigtrain.sweep.report.seeds import seeds_table
from bigtrain.sweep.report.svg import Markup, element, escaped, joined
from bigtrain.sweep.report.table import trial_table
from bigtrain.sweep.report.view import View
from bigtrain.sweep.results import score
from bigtrain.tracking.console import clock

_STATES = ("done", "running", "resting", "waiting", "pruned", "failed")


def page(view: View) -> str:
    """The whole page."""
    style, script = (Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    title = view.sweep.directory.name or "sweep"
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escaped(title)}: sweep</title>",
        f"<style>{style}</style>",
    ]
    many = "many" if len(view.sweep.trials) > 60 else None
    body = element(
        "main",
        element("h1", title),
        element("pre", view.sweep.command, class_="command"),
        *_sections(view),
        class_=many,
    )
    tip = '<div id="tip" hidden></div>'
    parts = ["<!doctype html>", '<html lang="en">', *head, body, tip, f"<script>{script}</script>", "</html>"]
    return "\n".join(parts) + "\n"


def _sections(view: View) -> list[Markup]:
    curves = [curve_chart(view, metric) for metric in view.curves]
    found = [importance(view.sweep, at) for at in range(len(view.sweep.objectives))] if view.sweep.keys else []
    front_drawn = front_charts(view) if len(view.sweep.objectives) > 1 else Markup()
    lineage, seeds = lineage_chart(view), seeds_table(view.sweep)
    sections = [
        _summary(view),
        _best(view),
        _section("Over the seeds", "The best trial may owe its place to its seed; a mean owes it less.", seeds)
        if seeds
        else Markup(),
        _section("Learning curves", f"Every trial; {_colours(view)}", *curves) if curves else Markup(),
        _section("Keys and scores", f"Every trial that was scored; {_colours(view)}", parallel_chart(view)),
        _section("What decides", HOW, *map(importance_chart, found)) if found else Markup(),
        _section(
            "Pareto front",
            "Ringed: trials that can't be bettered in one objective without losing in another.",
            front_drawn,
        )
        if front_drawn
        else Markup(),
        _section("Lineage", "A line down or up: where a trial took over another's state.", lineage)
        if lineage
        else Markup(),
        _section("Trials", "A click on a column's name sorts by it.", element("div", trial_table(view), class_="wide")),
    ]
    return [section for section in sections if section]


def _section(title: str, note: str, *inside: Markup) -> Markup:
    return element("section", element("h2", title), element("p", note, class_="note"), *inside)


def _colours(view: View) -> str:
    goal = view.sweep.objectives[0]
    end = "; the thick line is the best trial" if view.best is not None else ""
    return f"the stronger the colour, the better by {goal.name} ({goal.mode}){end}. Rest on one to see which it is."


def _summary(view: View) -> Markup:
    sweep, counts = view.sweep, Counter(trial.shown for trial in view.sweep.trials)
    states = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    facts = [("trials", f"{len(sweep.trials)}: {states}" if states else "none yet")]
    if sweep.seconds:
        facts.append(("wall time", clock(sweep.seconds)))
    facts.append(("training time", f"{clock(sum(trial.seconds for trial in sweep.trials))} of all trials together"))
    facts += [(goal.name, _reached(view, at)) for at, goal in enumerate(sweep.objectives)]
    if len(sweep.objectives) > 1:
        kept = [str(trial.number) for trial in front(sweep.trials, sweep.objectives)]
        facts.append(("Pareto front", f"trial{'s' * (len(kept) != 1)} {', '.join(kept)}" if kept else "none yet"))
    rows = joined(element("div", element("dt", name), element("dd", text)) for name, text in facts)
    return element("dl", rows, class_="summary")


def _reached(view: View, at: int) -> str:
    """The best value of an objective and whose it is; of what trained to its end, where something did."""
    goal, trials = view.sweep.objectives[at], view.sweep.trials
    ended = [trial for trial in trials if trial.state == "done" and trial.until >= 1.0]
    sign = 1 if goal.mode == "min" else -1
    scored = [(sign * value, trial.number) for trial in ended or trials if (value := score(trial, at)) is not None]
    if not scored:
        return "not measured yet"
    value, number = min(scored)
    name = "smallest" if goal.mode == "min" else "largest"
    return f"{short(sign * value)} by trial {number}, the {name} of {len(scored)}"


def _best(view: View) -> Markup:
    if view.best is None:
        return Markup()
    button = element("button", "copy", type="button", data_copy="best")
    parts = [element("div", button, element("pre", view.sweep.repeat(view.best), id="best"), class_="copied")]
    name = f"Trial {view.best.number}"
    name += f", by {view.sweep.objectives[0].name} alone" if len(view.sweep.objectives) > 1 else ""
    note = f"{name}. This command trains it once more."
    if view.best.parent is not None:
        note = (
            f"{name}. It went on from the state of trial {view.best.parent}: this command trains its "
            "values from the start. What it reached is in its run directory."
        )
    return _section("The best", note, *parts)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
