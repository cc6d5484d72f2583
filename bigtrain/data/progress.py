"""What a long reading of files shows meanwhile: on standard error, and only if it takes more than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
PATIENCE = 2.0  # seconds before anything is said
EVERY = {True: 0.5, False: 10.0}  # seconds between two lines: on a terminal they replace each other


def shown(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """The same items; how far it is, and how fast, is written as they pass."""
    started = time.perf_counter()
    spoken, terminal = started + PATIENCE, sys.stderr.isatty()
    said = False
    for number, item in enumerate(items, 1):
        now = time.perf_counter()
        if now >= spoken:
            line = f"{what}: {number:,} of {total:,} ({number / (now - started):,.0f} a second)"
            sys.stderr.write(f"\r{line}\x1b[K" if terminal else f"{line}\n")
            sys.stderr.flush()
            spoken, said = now + EVERY[terminal], True
        yield item
    if said and terminal:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def rate(what: str, number: int, seconds: float) -> str:
    """A note on what was done: `1,437 images in 0.8 s (1,790 a second)`."""
    return f"{number:,} {what} in {seconds:.1f} s ({number / max(seconds, 1e-9):,.0f} a second)"


def files(number: int) -> str:
    """How many files, for a note or a message."""
    return f"{number:,} file{'' if number == 1 else 's'}"
