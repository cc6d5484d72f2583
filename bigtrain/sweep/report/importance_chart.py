"""Bars: what each swept key explains of the objective."""

from __future__ import annotations

from bigtrain.sweep.report.importance import Importance
from bigtrain.sweep.report.svg import Markup, canvas, element, label, line

ROW, LEFT, WIDTH, RIGHT = 40, 340, 1000, 110


def importance_chart(found: Importance) -> Markup:
    """One bar a key, and one for what no key explains by itself, where all of them are known."""
    known = [share for share in found.shares.values() if share is not None]
    bars = [(key, share, "bar") for key, share in found.shares.items()]
    if len(known) == len(bars):
        bars.append(("(together, and noise)", max(1 - sum(known), 0.0), "bar rest"))
    parts = []
    for at, (key, share, kind) in enumerate(bars):
        y = 8 + ROW * at
        parts.append(label(LEFT - 14, y + 24, key, anchor="end", length=30, class_="title"))
        length = 0 if share is None else round((WIDTH - LEFT - RIGHT) * min(share, 1.0))
        parts.append(element("rect", x=LEFT, y=y + 4, width=length, height=ROW - 12, class_=kind))
        text = "too few trials" if share is None else f"{share:.0%}"
        parts.append(label(LEFT + length + 12, y + 24, text))
    height = 16 + ROW * len(bars)
    caption = element("figcaption", element("b", found.objective), element("small", _compared(found)))
    axis = line(LEFT, 4, LEFT, height - 4, "axis")
    return element(
        "figure", caption, canvas(WIDTH, height, f"importance for {found.objective}", *parts, axis), class_="bars"
    )


def _compared(found: Importance) -> str:
    when = "at their end" if found.at >= 1.0 else f"after {found.at:.3g} of their steps"
    return f" {found.trials} trials, compared {when}"
