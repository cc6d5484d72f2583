"""What a sweep leaves behind for people and programs: results.csv, report.html and three pictures, in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bigtrain.sweep.report import page, pictures
from bigtrain.sweep.report.view import View
from bigtrain.sweep.results import Sweep, write_csv, write_whole


def write(sweep: Sweep, say: Callable[..., None]) -> list[Path]:
    """Writes all of it, each file whole or not at all, and returns what was written.

    A picture that can't be drawn is left out, and `say` is told. Can be called at any time: the answer of a sweep that
    goes on says so, and is written again when it has ended.
    """
    view = View.of(sweep)
    report = sweep.directory / "report.html"
    write_whole(report, page.page(view).encode())
    return [write_csv(sweep), report, *pictures.write(view, say)]
