"""`curves.png`, `parallel.png` and `importance.png`: the charts of the page, for a paper or a message."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.run.fatal import not_fatal
from bigtrain.sweep.report.axes import cut
from bigtrain.sweep.report.curve_chart import bounds
from bigtrain.sweep.report.importance import importance
from bigtrain.sweep.report.parallel_chart import axes
from bigtrain.sweep.report.view import View
from bigtrain.sweep.results import write_whole
from bigtrain.sweep.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEST = "#d9480f"


def write(view: View, say: Callable[..., None]) -> list[Path]:
    """Draws what there is something to draw of, and returns what was written; says what could not be."""
    drawings: dict[str, Callable[[View], Figure | None]] = {
        "curves.png": curves,
        "parallel.png": parallel,
        "importance.png": bars,
    }
    written = []
    for name, draw in drawings.items():
        with not_fatal(name, say, whatever=True):
            figure = draw(view)
            if figure is not None:
                write_whole(view.sweep.directory / name, _png(figure))
                written.append(view.sweep.directory / name)
    return written


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    with warnings.catch_warnings():  # a value may be in a script that the font has not
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def curves(view: View) -> Figure | None:
    """Each metric over the steps, a line a trial."""
    if not view.curves:
        return None
    figure = _figure(5.2 * len(view.curves), 3.8)
    for axis, (metric, found) in zip(_row(figure, len(view.curves)), view.curves.items(), strict=True):
        for trial in view.ordered():
            if trial.number in found:
                axis.plot(*zip(*found[trial.number], strict=True), **_look(view, trial))
        low, high, clipped = bounds(found)
        if clipped and high > low:
            margin = 0.03 * (high - low)
            axis.set_ylim(low - margin, high + margin)
        axis.set_title(metric.replace("/", " "), parse_math=False)
        axis.set_xlabel("step")
        axis.grid(alpha=0.25)
    return figure


def parallel(view: View) -> Figure | None:
    """A line a trial through its values and scores."""
    found = axes(view)
    if not view.ranks or len(found) < 2:
        return None
    figure = _figure(max(7.0, 1.9 * len(found)), 4.2)
    axis = _row(figure, 1)[0]
    place = {trial.number: at for at, trial in enumerate(view.sweep.trials)}
    for trial in view.ordered():
        corners = [(x, one.places[place[trial.number]]) for x, one in enumerate(found)]
        points = [(x, y) for x, y in corners if y is not None]
        if trial.number in view.ranks:
            axis.plot(*zip(*points, strict=True), **_look(view, trial))
    behind = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    for x, one in enumerate(found):
        axis.axvline(x, color="#667085", linewidth=1)
        axis.text(x, 1.06 if x % 2 == 0 else 1.14, cut(one.title, 28), ha="center", fontsize=9, parse_math=False)
        for y, text in one.marks:
            axis.text(x - 0.03, y, text, ha="right", va="center", fontsize=8, bbox=behind, parse_math=False)
    axis.set(xlim=(-0.45, len(found) - 0.75), ylim=(-0.04, 1.04))
    axis.axis("off")
    return figure


def bars(view: View) -> Figure | None:
    """What each key explains, a chart an objective."""
    goals = range(len(view.sweep.objectives))
    found = [importance(view.sweep, at) for at in goals] if view.sweep.keys else []
    found = [one for one in found if any(share is not None for share in one.shares.values())]
    if not found:
        return None
    figure = _figure(5.4 * len(found), 1.3 + 0.36 * len(view.sweep.keys))
    for axis, one in zip(_row(figure, len(found)), found, strict=True):
        shares = {key: share for key, share in reversed(one.shares.items()) if share is not None}
        drawn = axis.barh(range(len(shares)), list(shares.values()), color="#2b66a8")
        axis.set_yticks(range(len(shares)), [cut(key, 30) for key in shares], parse_math=False)
        axis.bar_label(drawn, [f"{share:.0%}" for share in shares.values()], padding=4)
        axis.set(xlabel="variance explained by the key alone", xlim=(0, 1))
        axis.set_title(one.objective, parse_math=False)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _look(view: View, trial: Trial) -> dict[str, Any]:
    """The best thick and in its own colour; the others the darker the better."""
    if view.best is not None and trial.number == view.best.number:
        return {"color": BEST, "linewidth": 2.2}
    thin = 0.7 if len(view.sweep.trials) > 60 else 1.2
    rank = view.ranks.get(trial.number)
    if rank is None:
        return {"color": "#8994a3", "linewidth": thin, "linestyle": "--"}
    from matplotlib import colormaps

    return {"color": colormaps["Blues"](0.25 + 0.7 * rank / max(len(view.ranks) - 1, 1)), "linewidth": thin}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(min(width, 40.0), height), dpi=110, layout="constrained")


def _row(figure: Figure, number: int) -> list[Any]:
    return list(figure.subplots(1, number, squeeze=False)[0])
