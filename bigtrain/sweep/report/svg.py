"""SVG and HTML as text: elements whose attributes and contents are escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from bigtrain.sweep.report.axes import Axis, cut


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Any text as HTML; what is HTML already stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(_printable(str(text)), quote=True))


def element(tag: str, *inside: object, **attributes: object) -> Markup:
    """One element. `class_` is written `class`, other underscores as dashes; an attribute that is None is left out."""
    found = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{found}>{''.join(escaped(part) for part in inside)}</{tag}>")


def joined(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("".join(parts))


def canvas(width: int, height: int, label: str, *inside: Markup) -> Markup:
    """A drawing of this many units; it scales to the width of the page."""
    box = Markup(f'viewBox="0 0 {width} {height}"')  # the one name in SVG that has a capital
    return Markup(f'<svg {box} role="img" aria-label="{escaped(label)}">{joined(inside)}</svg>')


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=round(x1), y1=round(y1), x2=round(x2), y2=round(y2), class_=class_)


def label(x: float, y: float, text: str, *, anchor: str = "start", length: int = 40, class_: str = "mark") -> Markup:
    """A short text at a place; one that had to be cut is shown whole where the pointer rests on it."""
    shown = cut(text, length)
    whole = element("title", text) if shown != text else Markup()
    return element("text", shown, whole, x=round(x), y=round(y), text_anchor=anchor, class_=class_)


def upright(axis: Axis, x: float, top: float, height: float, *, grid_to: float | None = None) -> Markup:
    """The marks of a vertical axis at `x`, with lines across to `grid_to`."""
    parts = []
    for place, text in axis.marks:
        y = top + height * (1 - place)
        parts.append(line(x - 6 if grid_to is None else x, y, x if grid_to is None else grid_to, y, "grid"))
        parts.append(label(x - 10, y + 7, text, anchor="end", length=16))
    return joined(parts)


def level(axis: Axis, y: float, left: float, width: float) -> Markup:
    """The marks of a horizontal axis at `y`."""
    parts = [line(left, y, left + width, y, "axis")]
    for place, text in axis.marks:
        x = left + width * place
        parts += [line(x, y, x, y + 6, "axis"), label(x, y + 28, text, anchor="middle", length=16)]
    return joined(parts)


def _printable(text: str) -> str:
    """Control characters, which HTML doesn't allow, as their symbols."""
    return "".join(chr(0x2400 + ord(sign)) if ord(sign) < 32 and sign not in "\n\t" else sign for sign in text)
