"""What the target column of a table is: classes, or real values in deviations from their training mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.spec import Field, Split
from bigtrain.data.table_columns import Column, Numbers, Texts
from bigtrain.data.table_files import as_number

TargetKind = Literal["auto", "label", "real"]
FEW = 20  # distinct whole numbers that are still taken for classes


@dataclass(frozen=True)
class Targets:
    """Target columns as the model learns them, in each file, and what is said of them in the start summary."""

    field: Field
    columns: Mapping[Split, np.ndarray]
    classes: tuple[str, ...] | None
    note: str


def implied(column: Column, kind: TargetKind) -> tuple[Literal["label", "real"], str]:
    """Whether a column holds classes or real values, and what to set if that is wrong.

    Texts are classes, numbers with a decimal sign are real; whole numbers are classes if they are few and recur.
    """
    if kind != "auto":
        return kind, ""
    if isinstance(column, Texts):
        return "label", ""
    present = column.values[~column.absent()]
    distinct = len(np.unique(present))
    whole = bool((present == np.floor(present)).all())
    if column.whole and whole and distinct <= min(FEW, len(present) // 2):
        return "label", f"{distinct} whole numbers; for regression set data.target_kind=real"
    few = whole and distinct <= min(FEW, len(present) // 2)
    return "real", f"{distinct} whole numbers; for classes set data.target_kind=label" if few else ""


def labels(where: object, name: str, columns: Mapping[Split, Column], hint: str) -> Targets:
    """Class labels: each distinct value of any file is a class, numbers in their order, texts in alphabetical order."""
    texts = {split: _as_texts(column) for split, column in columns.items()}
    found = set().union(*(column.values for column in texts.values()))
    numeric = all(as_number(text) is not None for text in found)
    classes = tuple(sorted(found, key=lambda text: (float(text), text) if numeric else (0.0, text)))
    rows = sum(len(column.codes) for column in texts.values())
    if len(classes) > max(FEW, rows / 2):
        problem = f"the target {name!r} has {len(classes):,} distinct values in {rows:,} rows, too many for classes"
        raise DataError(where, problem, hint="data.target=… names another column; data.target_kind=real regresses")
    index = {text: at for at, text in enumerate(classes)}
    arrays = {
        split: np.array([*(index[text] for text in column.values), 0], np.int32)[column.codes]
        for split, column in texts.items()
    }
    return Targets(Field((), "int32", "label"), arrays, classes, hint or f"{len(classes)} classes")


def _as_texts(column: Column) -> Texts:
    if isinstance(column, Texts):
        return column
    present = ~column.absent()
    values, codes = np.unique(column.values[present], return_inverse=True)
    made = np.full(len(column.values), -1, np.int32)
    made[present] = codes
    return Texts(made, tuple(f"{value:.15g}" for value in values))


def reals(where: object, name: str, columns: Mapping[Split, Column], rows: np.ndarray, hint: str) -> Targets:
    """Real targets as deviations from the mean of the training rows: a model starts near that mean, whatever the unit.

    The field's `scale` and `shift` give the unit back, in metrics and in predictions.
    """
    values = {split: column.values for split, column in columns.items() if isinstance(column, Numbers)}
    if len(values) < len(columns):
        hint = "data.target=… names another column; data.target_kind=label takes texts as classes"
        raise DataError(where, f"the target {name!r} holds texts, no numbers", hint=hint)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values["train"][rows].mean()), float(values["train"][rows].std())
        if not (np.isfinite(mean) and np.isfinite(np.float32(deviation)) and np.isfinite(np.float32(mean))):
            raise DataError(where, f"the target {name!r} is too large for float32", hint="give it in another unit")
        deviation = deviation if deviation > 0 else 1.0
        arrays = {split: ((found - mean) / deviation).astype(np.float32) for split, found in values.items()}
    field = Field((), "float32", "real", scale=deviation, shift=mean)
    return Targets(field, arrays, None, hint or f"real, mean {mean:.6g}, deviation {deviation:.4g}")
