"""Who descends from whom in population-based training: a row a trial, a line from the parent where it was copied."""

from __future__ import annotations

from bigtrain.sweep.report.axes import Axis, Range
from bigtrain.sweep.report.svg import Markup, canvas, element, label, level, line
from bigtrain.sweep.report.view import View
from bigtrain.sweep.trial import Trial

LEFT, WIDTH, TOP, RIGHT, BOTTOM = 70, 1000, 12, 30, 70


def lineage_chart(view: View) -> Markup:
    """The chart; empty where no trial has a parent."""
    trials = {trial.number: trial for trial in view.sweep.trials}
    if all(trial.parent is None for trial in trials.values()):
        return Markup()
    row = 26 if len(trials) <= 40 else max(6, 1040 // len(trials))
    order = family(list(trials.values()))
    ys = {number: TOP + row * at + row // 2 for at, number in enumerate(order)}
    width = WIDTH - LEFT - RIGHT
    parts = []
    for number in order:
        trial, y = trials[number], ys[number]
        begin, end = (LEFT + round(width * share) for share in (started(trial, trials), min(trial.until, 1.0)))
        if trial.parent in ys:
            up = ys[trial.parent]
            parts.append(element("path", d=f"M{begin} {up}L{begin} {y}", data_t=number, class_="descent"))
        kind = view.kind(trial)
        parts.append(element("path", d=f"M{begin} {y}L{max(end, begin + 4)} {y}", data_t=number, class_=f"life {kind}"))
        if row >= 16:
            parts.append(label(LEFT - 10, y + 7, str(number), anchor="end"))
    bottom = TOP + row * len(order)
    axis = level(Axis("", Range(0, 1, False).marks(), ()), bottom + 4, LEFT, width)
    below = label(LEFT + width / 2, bottom + 58, "share of the run's steps", anchor="middle", class_="title")
    grid = line(LEFT, TOP, LEFT, bottom, "grid")
    return element("figure", canvas(WIDTH, bottom + BOTTOM, "lineage", grid, axis, *parts, below), class_="lineage")


def started(trial: Trial, trials: dict[int, Trial]) -> float:
    """The share of the steps at which a trial took over its parent's state: the parent's last before its own first."""
    parent = trials.get(trial.parent) if trial.parent is not None else None
    if parent is None:
        return 0.0
    first = min(trial.scores, default=trial.until)
    return max((at for at in parent.scores if at < first), default=0.0)


def family(trials: list[Trial]) -> list[int]:
    """Numbers of the trials, each followed by its descendants."""
    numbers = {trial.number for trial in trials}
    children: dict[int | None, list[int]] = {}
    for trial in trials:
        children.setdefault(trial.parent if trial.parent in numbers else None, []).append(trial.number)
    found: list[int] = []
    waiting = sorted(children.get(None, []), reverse=True)
    while waiting:
        found.append(waiting.pop())
        waiting += sorted(children.get(found[-1], []), reverse=True)
    return found
