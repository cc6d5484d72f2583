"""Aligned columns of text, for a terminal of some width or for a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2  # spaces between two columns
ALWAYS = 9


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        title: its header.
        cells: its text, a row each.
        right: whether it is aligned to the right, as numbers are.
        worth: where the terminal is too narrow for all, those with the least are left out first; `ALWAYS` never is.
    """

    title: str
    cells: Sequence[str]
    right: bool = False
    worth: int = 0

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(map(len, (self.title, *self.cells)))


def terminal_width() -> int | None:
    """Characters of a line of the terminal; None where the output goes elsewhere and may be of any width."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def render(columns: Sequence[Column], width: int | None) -> tuple[str, list[str]]:
    """The lines, and the titles of the columns that the width has no room for."""
    shown, left = list(columns), []
    while width is not None and sum(one.width + GAP for one in shown) - GAP > width:
        spare = min(reversed(shown), key=lambda one: one.worth)
        if spare.worth == ALWAYS:
            break
        shown.remove(spare)
        left.insert(0, spare.title)
    rows = zip(*([one.title, *one.cells] for one in shown), strict=True)
    lines = []
    for row in rows:
        parts = [
            text.rjust(one.width) if one.right else text.ljust(one.width) for text, one in zip(row, shown, strict=True)
        ]
        lines.append((" " * GAP).join(parts).rstrip()[:width])
    return "\n".join(lines) + "\n", left
