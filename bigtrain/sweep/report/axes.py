"""Axes: where a value lies between 0 and 1, and which marks stand beside it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bigtrain.sweep.results import drawable
from bigtrain.sweep.trial import Objective

DECADE_FROM = 30.0  # values that span more than this factor vary evenly in their logarithm
LABEL = 14  # characters of a mark, beyond which it is cut


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Args:
        title: what it shows.
        marks: where its marks are, between 0 and 1, and their text.
        places: where each trial's value is, between 0 and 1; None for a trial without one.
    """

    title: str
    marks: tuple[tuple[float, str], ...]
    places: tuple[float | None, ...]


@dataclass(frozen=True)
class Range:
    """An interval of numbers, linear or logarithmic."""

    low: float
    high: float
    log: bool

    def place(self, value: float) -> float:
        """Where a number lies, 0 at `low` and 1 at `high`."""
        if self.high == self.low:
            return 0.5
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def marks(self, number: int = 5) -> tuple[tuple[float, str], ...]:
        """Round numbers along the interval, about as many as asked for."""
        if self.high == self.low:
            return ((0.5, short(self.low)),)
        values = _decades(self.low, self.high, number) if self.log else _steps(self.low, self.high, number)
        if len(values) < 2:
            values = [self.low, self.high]
        return tuple((self.place(value), short(value)) for value in values)


def numbers(texts: Sequence[str | None]) -> list[float | None] | None:
    """The values of a key as numbers; None where one of them is none."""
    found: list[float | None] = []
    for text in texts:
        try:
            value = None if text is None else float(text.replace("_", "a"))
        except ValueError:
            return None
        if value is not None and not math.isfinite(value):
            return None
        found.append(None if value is None else drawable(value))
    return found


def covering(values: Sequence[float], *, log: bool | None = None) -> Range:
    """The interval from the smallest to the largest; logarithmic where that is asked for, or is the better view."""
    low, high = min(values), max(values)
    wide = low > 0 and high / low >= DECADE_FROM
    return Range(low, high, low > 0 and (wide if log is None else log))


def of_numbers(title: str, values: Sequence[float | None]) -> Axis:
    """An axis of numbers."""
    known = [value for value in values if value is not None]
    if not known:
        return Axis(title, (), (None,) * len(values))
    span = covering(known)
    return Axis(title, span.marks(), tuple(None if value is None else span.place(value) for value in values))


def of_scores(objective: Objective, values: Sequence[float | None]) -> Axis:
    """An axis of an objective; scores far outside the others lie at its bad end, and its title says from where."""
    known = [value for value in values if value is not None]
    title = f"{objective.name} ({objective.mode})"
    if not known:
        return Axis(title, (), (None,) * len(values))
    span, beyond = fenced(known, objective)
    title = f"{title}, to {short(span.high if objective.mode == 'min' else span.low)}" if beyond else title
    return Axis(title, span.marks(), tuple(None if value is None else span.place(value) for value in values))


def fenced(scores: Sequence[float], objective: Objective) -> tuple[Range, bool]:
    """The interval of the scores without the bad ones that are far outside, and whether there are any."""
    sign = 1 if objective.mode == "min" else -1
    end = sign * fence([sign * value for value in scores])
    inside = [value for value in scores if sign * value <= sign * end]
    return covering(inside), len(inside) < len(scores)


def fence(values: Sequence[float], least: float = 0.0) -> float:
    """The largest value that is not far outside: above the middle half by three times its spread (Tukey 1977).

    Args:
        values: at least one.
        least: a spread below which nothing is far.
    """
    if len(values) < 4:
        return max(values)
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return max(value for value in values if value <= third + 3 * max(third - first, least))


def of_key(title: str, texts: Sequence[str | None]) -> Axis:
    """An axis of a swept key: of numbers where all values are, else of one mark a value, evenly apart."""
    values = numbers(texts)
    distinct = list(dict.fromkeys(text for text in texts if text is not None))
    if values is not None and len(distinct) > 1:
        axis = of_numbers(title, values)
        if len(distinct) <= 8:  # few enough to mark what was tried
            tried = {places: cut(text) for places, text in zip(axis.places, texts, strict=True) if text is not None}
            return Axis(title, tuple((place, text) for place, text in tried.items() if place is not None), axis.places)
        return axis
    gaps = max(len(distinct) - 1, 1)
    places = {text: at / gaps if len(distinct) > 1 else 0.5 for at, text in enumerate(distinct)}
    every = max(-(-len(distinct) // 12), 1)
    marks = tuple((places[text], cut(text)) for text in distinct[::every])
    return Axis(title, marks, tuple(None if text is None else places[text] for text in texts))


def cut(text: str, length: int = LABEL) -> str:
    """A text short enough for a mark: its two ends are kept."""
    if len(text) <= length:
        return text
    kept = length - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def short(value: float) -> str:
    """A number for people: four digits, without an exponent that isn't needed."""
    if value == int(value) and abs(value) < 1e5:
        return str(int(value))
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _steps(low: float, high: float, number: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / number
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 0.0
    if power == 0.0:  # closer together than a float can count
        return []
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{at * step:.12g}") for at in range(first, last + 1)] if last - first < 3 * number else []


def _decades(low: float, high: float, number: int) -> list[float]:
    """Powers of ten, thinned out where there are many, with 2 and 5 between where there are few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, -(-(last - first + 1) // number))
    powers = [10.0**at for at in range(first, last + 1, every)]
    if len(powers) >= 3:
        return powers
    values = [factor * 10.0**at for at in range(first - 1, last + 1) for factor in (1, 2, 5)]
    inside = [float(f"{value:.6g}") for value in values if low * 0.999 <= value <= high * 1.001]
    return inside if len(inside) >= 2 else _steps(low, high, number)
