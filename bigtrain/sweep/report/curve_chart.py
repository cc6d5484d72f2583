"""Learning curves of all trials in one chart, with a linear and a logarithmic axis to choose from."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bigtrain.sweep.report.axes import Axis, Range, covering, fence, short
from bigtrain.sweep.report.curves import Curve
from bigtrain.sweep.report.svg import Markup, canvas, element, joined, level, upright
from bigtrain.sweep.report.view import View

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 1000, 480, 90, 20, 40, 50


def curve_chart(view: View, metric: str) -> Markup:
    """One chart of a metric: a line a trial."""
    curves = view.curves[metric]
    steps = [step for curve in curves.values() for step, _ in curve]
    across, (low, high, clipped) = Range(min(*steps, 0), max(steps), False), bounds(curves)
    linear = Range(low, high, False)
    log = covering([low, high], log=True) if low > 0 else None
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    lines = []
    for trial in view.ordered():
        if trial.number in curves:
            points = curves[trial.number]
            xs = [round(LEFT + width * across.place(step)) for step, _ in points]
            ys = [
                [round(TOP + height * (1 - span.place(value))) for _, value in points] for span in (linear, log) if span
            ]
            drawn = " ".join(f"{x},{y}" for x, y in zip(xs, ys[0], strict=True))
            other = " ".join(map(str, ys[1])) if log else None
            parts = {"points": drawn, "data_log": other, "data_t": trial.number, "class_": view.kind(trial)}
            lines.append(element("polyline", **parts))
    marks = [element("g", _marks(linear), class_="of-linear")]
    marks += [element("g", _marks(log), class_="of-log")] if log else []
    base = level(Axis("step", across.marks(6), ()), TOP + height, LEFT, width)
    drawing = canvas(WIDTH, HEIGHT, f"{metric} of every trial over the steps", *marks, base, *lines)
    return element("figure", _caption(metric, clipped, choice=log is not None), drawing, class_="curves", id=metric)


def _marks(span: Range) -> Markup:
    return upright(Axis("", span.marks(), ()), LEFT, TOP, HEIGHT - TOP - BOTTOM, grid_to=WIDTH - RIGHT)


def _caption(metric: str, clipped: Sequence[float], *, choice: bool) -> Markup:
    box = element("label", Markup('<input type="checkbox" class="log">'), " log axis") if choice else Markup()
    note = element("small", f" beyond {' and '.join(map(short, clipped))}: drawn at the edge") if clipped else Markup()
    return element("figcaption", joined([element("b", metric.replace("/", " ")), note, box]))


def bounds(curves: Mapping[int, Curve]) -> tuple[float, float, list[float]]:
    """The interval of values that is drawn, and the ends that some values lie beyond.

    A trial that diverged must not flatten all others: a curve far outside the others doesn't widen the interval.
    """
    lows = [min(value for _, value in curve) for curve in curves.values()]
    highs = [max(value for _, value in curve) for curve in curves.values()]
    usual = statistics.median(highs) - statistics.median(lows)  # how far one curve reaches
    high, low = fence(highs, usual / 2), -fence([-value for value in lows], usual / 2)
    clipped = ([low] if low > min(lows) else []) + ([high] if high < max(highs) else [])
    return low, high, clipped
