"""How the columns of a table become inputs: statistics of the training rows, kept with the model, and their use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.spec import Field

Kind = Literal["auto", "number", "category"]
Settings = dict[str, Any]
"""One column, as JSON: `name` and `kind`; `mean`, `deviation` and `missing` of numbers, `values` of categories."""


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: float64 [N], NaN where one is missing; `whole` if none is written with a decimal sign."""

    values: np.ndarray
    whole: bool = False

    def absent(self) -> np.ndarray:
        """Where a value is missing, bool [N]."""
        return np.isnan(self.values)


@dataclass(frozen=True)
class Texts:
    """A column of anything else: int32 [N] into `values`, -1 where one is missing."""

    codes: np.ndarray
    values: tuple[str, ...]

    def absent(self) -> np.ndarray:
        """Where a value is missing, bool [N]."""
        return self.codes < 0


Column = Numbers | Texts


@dataclass(frozen=True)
class Frame:
    """Columns of equal length by name."""

    columns: Mapping[str, Column]
    length: int


class Table(Protocol):
    """A file whose columns are known by name before their values are read."""

    @property
    def path(self) -> object:
        """The file, for messages."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns, in order."""
        ...

    def read(self, kinds: Mapping[str, Kind]) -> Frame:
        """The columns that `kinds` names."""
        ...


def fitted(frame: Frame, names: Sequence[str], rows: np.ndarray) -> tuple[list[Settings], list[str]]:
    """What each of the columns needs to become inputs, of the training rows alone; and the columns of one value.

    Args:
        frame: the table.
        names: the columns that go into the model.
        rows: the training rows.
    """
    made: list[Settings] = []
    constant = []
    for name in names:
        column = frame.columns[name]
        entry = _numbers(name, column.values[rows]) if isinstance(column, Numbers) else _values(name, column, rows)
        if entry is None:
            constant.append(name)
        else:
            made.append(entry)
    return made, constant


def _numbers(name: str, values: np.ndarray) -> Settings | None:
    absent = np.isnan(values)
    present = values[~absent]
    if not len(present):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(present.mean()), float(present.std())
    if present.min() == present.max() or not deviation > 0:
        return None
    if not math.isfinite(mean) or not math.isfinite(deviation):
        raise DataError(name, "its values are too large for a mean and a deviation", hint="give it in another unit")
    return {"name": name, "kind": "number", "mean": mean, "deviation": deviation, "missing": bool(absent.any())}


def _values(name: str, column: Texts, rows: np.ndarray) -> Settings | None:
    counts = np.bincount(column.codes[rows] + 1, minlength=len(column.values) + 1)
    seen: list[str | None] = [text for text, count in zip(column.values, counts[1:], strict=True) if count]
    found = [*sorted(seen, key=str), *([None] if counts[0] else [])]
    return {"name": name, "kind": "category", "values": found} if len(found) > 1 else None


def fields(settings: Sequence[Settings]) -> dict[str, Field]:
    """The inputs that the columns make: `inputs` of numbers, and `categories`; `inputs` if there are only those."""
    numbers = [entry for entry in settings if entry["kind"] == "number"]
    sizes = tuple(1 + len(entry["values"]) for entry in settings if entry["kind"] == "category")
    categories = Field((len(sizes),), "int32", "categories", sizes=sizes)
    if not numbers:
        return {"inputs": categories}
    width = len(numbers) + sum(entry["missing"] for entry in numbers)
    found = {"inputs": Field((width,), "float32", "features")}
    return {**found, "categories": categories} if sizes else found


def encoded(where: object, frame: Frame, settings: Sequence[Settings]) -> dict[str, np.ndarray]:
    """The rows of a table as inputs.

    A number becomes its distance from the training mean in deviations, 0 where it is missing; for each column with
    missing numbers in training there follows one of 0 and 1 that says where. A category becomes 1 and up in the order
    of the training values; 0 is one that training didn't see.
    """
    numbers = [entry for entry in settings if entry["kind"] == "number"]
    categories = [entry for entry in settings if entry["kind"] == "category"]
    arrays: dict[str, np.ndarray] = {}
    if numbers:
        flags = [entry for entry in numbers if entry["missing"]]
        inputs = np.empty((frame.length, len(numbers) + len(flags)), np.float32)
        for at, entry in enumerate(numbers):
            inputs[:, at] = _standardised(where, frame.columns[entry["name"]], entry)
        for at, entry in enumerate(flags, len(numbers)):
            inputs[:, at] = frame.columns[entry["name"]].absent()
        arrays["inputs"] = inputs
    if categories:
        indices = np.empty((frame.length, len(categories)), np.int32)
        for at, entry in enumerate(categories):
            indices[:, at] = _indices(frame.columns[entry["name"]], entry["values"])
        arrays["categories" if numbers else "inputs"] = indices
    return arrays


def _standardised(where: object, column: Column, entry: Settings) -> np.ndarray:
    assert isinstance(column, Numbers)
    with np.errstate(over="ignore"):
        found = ((column.values - entry["mean"]) / entry["deviation"]).astype(np.float32)
    found[np.isnan(found)] = 0.0
    if np.isinf(found).any():
        row = int(np.flatnonzero(np.isinf(found))[0])
        problem = f"{column.values[row]:g} in column {entry['name']!r} is too large, at index {row}"
        raise DataError(where, problem, hint="replace the value, or leave its cell empty")
    return found


def _indices(column: Column, values: Sequence[str | None]) -> np.ndarray:
    assert isinstance(column, Texts)
    index = {value: at for at, value in enumerate(values, 1)}
    table = [*(index.get(text, 0) for text in column.values), index.get(None, 0)]  # code -1 is the last
    return np.array(table, np.int32)[column.codes]
