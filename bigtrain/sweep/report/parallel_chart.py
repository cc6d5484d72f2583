"""Parallel coordinates: each trial is a line through its values, coloured by its score (Inselberg 1985)."""

from __future__ import annotations

from bigtrain.sweep.report.axes import Axis, of_key, of_scores
from bigtrain.sweep.report.svg import Markup, canvas, element, label, line, upright
from bigtrain.sweep.report.view import View
from bigtrain.sweep.results import score

APART, TOP, HEIGHT, LEFT, RIGHT = 170, 70, 320, 130, 70  # an axis needs so much width for its marks


def axes(view: View) -> list[Axis]:
    """One axis a swept key, then one an objective; places are in the order of the sweep's trials."""
    sweep = view.sweep
    keys = [of_key(key, [trial.values.get(key) for trial in sweep.trials]) for key in sweep.keys]
    numbers = [
        of_scores(objective, [score(trial, at) for trial in sweep.trials])
        for at, objective in enumerate(sweep.objectives)
    ]
    return [*keys, *numbers]


def parallel_chart(view: View) -> Markup:
    """The chart; wide ones scroll."""
    found, place = axes(view), {trial.number: at for at, trial in enumerate(view.sweep.trials)}
    width = max(1000, LEFT + APART * (len(found) - 1) + RIGHT)
    apart = (width - LEFT - RIGHT) / max(len(found) - 1, 1)
    lines = []
    for trial in view.ordered():
        at = place[trial.number]
        corners = [(LEFT + apart * number, axis.places[at]) for number, axis in enumerate(found)]
        points = [f"{round(x)} {round(TOP + HEIGHT * (1 - y))}" for x, y in corners if y is not None]
        if len(points) > 1 and trial.number in view.ranks:
            lines.append(element("path", d=f"M{'L'.join(points)}", data_t=trial.number, class_=view.kind(trial)))
    frames = []
    for number, axis in enumerate(found):
        x = LEFT + apart * number
        frames += [line(x, TOP, x, TOP + HEIGHT, "axis"), upright(axis, x, TOP, HEIGHT)]
        y = TOP - 20 if apart > 220 or number % 2 == 0 else TOP - 46
        anchor = "end" if number == len(found) - 1 else "middle"
        frames.append(
            label(x + (60 if anchor == "end" else 0), y, axis.title, anchor=anchor, length=28, class_="title")
        )
    drawing = canvas(width, TOP + HEIGHT + 24, "parallel coordinates", *lines, *frames)
    box = element("div", drawing, class_="wide", data_width=width)
    return element("figure", box, class_="parallel")
