"""Which way a metric is better."""

from __future__ import annotations

from typing import Literal

Mode = Literal["min", "max"]

HIGHER = ("accuracy", "elbo", "iwae", "exact_match", "bleu", "chrf")
"""Metrics of which more is better; of all others less is."""


def mode_of(metric: str, mode: str = "auto") -> Mode:
    """Whether a smaller or a larger value is better; `auto` knows by the metric's name, with or without its split."""
    higher = metric.rsplit("/", 1)[-1] in HIGHER if mode == "auto" else mode == "max"
    return "max" if higher else "min"
