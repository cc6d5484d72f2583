"""Two objectives against each other, with the Pareto front."""

from __future__ import annotations

import itertools

from bigtrain.sweep.report.axes import Axis, fenced
from bigtrain.sweep.report.front import front
from bigtrain.sweep.report.svg import Markup, canvas, element, joined, label, level, upright
from bigtrain.sweep.report.view import View
from bigtrain.sweep.results import score

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 1000, 480, 110, 30, 30, 80


def front_charts(view: View) -> Markup:
    """A chart for each pair of the first three objectives."""
    pairs = itertools.combinations(range(min(len(view.sweep.objectives), 3)), 2)
    return joined(_chart(view, *pair) for pair in pairs)


def _chart(view: View, across: int, up: int) -> Markup:
    names = [view.sweep.objectives[at] for at in (across, up)]
    scored = [trial for trial in view.ordered() if None not in (score(trial, across), score(trial, up))]
    if not scored:
        return Markup()
    found = {at: [score(trial, at) or 0.0 for trial in scored] for at in (across, up)}  # all of them have a score
    spans = [fenced(found[at], view.sweep.objectives[at])[0] for at in (across, up)]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    kept = {trial.number for trial in front(view.sweep.trials, view.sweep.objectives)}
    parts = []
    for trial in sorted(scored, key=lambda trial: trial.number in kept):
        x, y = (span.place(score(trial, at) or 0.0) for span, at in zip(spans, (across, up), strict=True))
        kind = f"{view.kind(trial)}{' front' if trial.number in kept else ''}"
        place = {
            "cx": round(LEFT + width * x),
            "cy": round(TOP + height * (1 - y)),
            "r": 9 if trial.number in kept else 6,
        }
        parts.append(element("circle", **place, data_t=trial.number, class_=kind))
    marks = [Axis("", span.marks(6), ()) for span in spans]
    grid = upright(marks[1], LEFT, TOP, height, grid_to=WIDTH - RIGHT)
    titles = [f"{objective.name} ({objective.mode})" for objective in names]
    below = label(LEFT + width / 2, HEIGHT - 16, titles[0], anchor="middle", class_="title")
    caption = element("figcaption", element("b", f"{titles[1]} over {titles[0]}"))
    drawing = canvas(WIDTH, HEIGHT, "objectives", grid, level(marks[0], TOP + height, LEFT, width), *parts, below)
    return element("figure", caption, drawing, class_="scatter")
