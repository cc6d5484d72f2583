"""Numbers on the command lines of these scripts: what makes no sense is refused before anything is measured."""

from __future__ import annotations

import argparse
import math


def count(text: str) -> int:
    """A whole number above 0."""
    try:
        found = int(text)
    except ValueError:
        found = 0
    if found < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return found


def seconds(text: str) -> float:
    """A number above 0 that ends."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not (found > 0 and math.isfinite(found)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return found
