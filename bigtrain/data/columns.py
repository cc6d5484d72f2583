"""What raw arrays mean: images, features, tokens, class labels or regression targets; checked and typed for a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.arrays import Column, Mapped
from bigtrain.data.checks import bounded_rows, check_finite, chunks, class_labels, finite_rows
from bigtrain.data.spec import Field, Split

InputKind = Literal["auto", "features", "tokens"]
TargetKind = Literal["auto", "label", "real", "tokens"]
MOST_TOKENS = 10_000_000  # a greater vocabulary is no vocabulary: an embedding of it would take gigabytes


@dataclass(frozen=True)
class Raw:
    """An array as stored, in memory or mapped, with the file and the name for messages."""

    where: object
    name: str
    array: np.ndarray


@dataclass(frozen=True)
class Typed:
    """The columns of one batch key in each split, what they hold, and the classes if they are labels."""

    field: Field
    columns: Mapping[Split, Column]
    classes: tuple[str, ...] | None = None


def is_tokens(raws: Mapping[Split, Raw], kind: InputKind) -> bool:
    """Whether integers are indices into a vocabulary: rows of them are, unless they are bytes (images) or have dims."""
    first = next(iter(raws.values())).array
    if kind == "auto":
        return first.dtype.kind in "iu" and first.dtype != np.uint8 and first.ndim <= 2
    return kind == "tokens"


def features(raws: Mapping[Split, Raw]) -> Typed:
    """Real-valued inputs: bytes stay bytes and are scaled to 0 to 1 as images are; all else becomes float32."""
    raws = _agreeing(raws, "biuf")
    stored = next(iter(raws.values())).array.dtype
    byte = stored == np.uint8 or stored.kind == "b"
    columns = {split: _real(raw, "uint8" if byte else "float32") for split, raw in raws.items()}
    shape = next(iter(columns.values())).shape[1:]
    if byte:
        scale = 1.0 if stored.kind == "b" else 1 / 255
        return Typed(Field(shape, "uint8", "features", scale=scale, low=0.0, high=1.0), columns)
    low = high = None
    arrays = [column for column in columns.values() if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns):  # of a mapped file they aren't known: that would be a pass over it
        low, high = min(float(found.min()) for found in arrays), max(float(found.max()) for found in arrays)
    return Typed(Field(shape, "float32", "features", low=low, high=high), columns)


def real_targets(raws: Mapping[Split, Raw]) -> Typed:
    """Regression targets: float32, shape kept."""
    raws = _agreeing(raws, "biuf", widen=False)
    columns = {split: _real(raw, "float32") for split, raw in raws.items()}
    return Typed(Field(next(iter(columns.values())).shape[1:], "float32", "real"), columns)


def labels(
    raws: Mapping[Split, Raw], classes: int | None, *, steps: int | None = None, hint: str | None = None
) -> Typed:
    """Class labels: integers from 0 on, or strings, of which each distinct one is a class, in sorted order.

    One an example, or one at each of its `steps`. `hint` is what to set if they are something else.
    """
    read = {split: Raw(raw.where, raw.name, np.array(raw.array)) for split, raw in raws.items()}
    if all(raw.array.dtype.kind in "US" and raw.array.ndim == 1 for raw in read.values()):
        names = np.unique(np.concatenate([raw.array for raw in read.values()]))
        columns = {split: np.searchsorted(names, raw.array).astype(np.int32) for split, raw in read.items()}
        shown = tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names.tolist())
        return Typed(Field((), "int32", "label"), columns, shown)
    found = {
        split: class_labels(raw.where, raw.name, raw.array, classes, steps=steps, hint=hint)
        for split, raw in read.items()
    }
    number = max(number for _, number in found.values())
    columns = {split: values for split, (values, _) in found.items()}
    shape = columns["train"].shape[1:]
    for split, values in columns.items():
        if values.shape[1:] != shape:
            problem = f"labels {read['train'].name!r} have shape {list(shape)}, {read[split].name!r} has"
            raise DataError(read[split].where, f"{problem} {list(values.shape[1:])}")
    return Typed(Field(shape, "int32", "label"), columns, tuple(str(label) for label in range(number)))


def without_padding(raws: Mapping[Split, Raw], lengths: Typed | None) -> Mapping[Split, Raw]:
    """Labels with 0 in the steps beyond each sequence's length, where -1 is usual and nothing is looked at."""
    if lengths is None or any(raw.array.ndim != 2 or raw.array.dtype.kind not in "if" for raw in raws.values()):
        return raws
    made = {}
    for split, raw in raws.items():
        rows = np.arange(len(raw.array))
        valid = np.arange(raw.array.shape[1]) < lengths.columns[split][rows][:, None]
        made[split] = Raw(raw.where, raw.name, np.where(valid, raw.array, 0))
    return made


def tokens(raws: Mapping[Split, Raw], size: int) -> Typed:
    """Indices into a vocabulary of `size`, in the type they are stored in where that is small, else int32."""
    raws = _agreeing(raws, "iu")
    stored = next(iter(raws.values())).array.dtype
    dtype = str(stored.newbyteorder("=")) if stored.kind == "u" and stored.itemsize < 4 else "int32"
    columns: dict[Split, Column] = {}
    for split, raw in raws.items():
        check = bounded_rows(raw.where, raw.name, size)
        if isinstance(raw.array, np.memmap):
            columns[split] = Mapped(raw.array, dtype, check)
        else:
            check(raw.array, np.arange(len(raw.array)))
            columns[split] = np.ascontiguousarray(raw.array, dtype)
    return Typed(Field(next(iter(columns.values())).shape[1:], dtype, "tokens"), columns)


def vocabulary_size(raws: list[Raw]) -> int:
    """One more than the greatest token of all arrays."""
    greatest = 0
    for raw in raws:
        if raw.array.dtype.kind not in "iu":
            raise DataError(raw.where, f"{raw.name!r} has type {raw.array.dtype}; tokens are integers")
        stored = Mapped(raw.array)
        for rows in chunks(stored):
            found = stored[rows]
            if found.size and found.min() < 0:
                index = int(rows[np.flatnonzero((found < 0).reshape(len(rows), -1).any(axis=1))[0]])
                raise DataError(
                    raw.where,
                    f"{raw.name!r} holds a negative token at index {index}",
                    hint="tokens count from 0; for integers that are quantities set data.kind=features",
                )
            greatest = max(greatest, int(found.max(initial=0)))
    if greatest >= MOST_TOKENS:
        hint = "for integers that are quantities set data.kind=features"
        raise DataError(raws[0].where, f"tokens reach {greatest}, too many for a vocabulary", hint=hint)
    return greatest + 1


def valid_lengths(raws: Mapping[Split, Raw], steps: int) -> Typed:
    """How many steps of each example count: int32, from 1 to `steps`."""
    raws = _agreeing(raws, "iu", widen=False)
    columns: dict[Split, Column] = {}
    for split, raw in raws.items():
        values = np.array(raw.array)
        bad = np.flatnonzero((values < 1) | (values > steps)) if values.ndim == 1 else np.arange(1)
        if len(bad):
            problem = f"{raw.name!r} must hold one length from 1 to {steps} an example; index {bad[0]} doesn't"
            raise DataError(raw.where, problem)
        columns[split] = values.astype(np.int32)
    return Typed(Field((), "int32", "length"), columns)


def segment_numbers(raws: Mapping[Split, Raw], steps: int) -> Typed:
    """Which of the packed sequences each step belongs to: int32 [steps]."""
    raws = _agreeing(raws, "iu", widen=False)
    for raw in raws.values():
        if raw.array.shape[1:] != (steps,):
            raise DataError(raw.where, f"{raw.name!r} has shape {raw.array.shape}, not ({len(raw.array)}, {steps})")
    columns = {split: _real(raw, "int32") for split, raw in raws.items()}
    return Typed(Field((steps,), "int32", "segments"), columns)


def _agreeing(raws: Mapping[Split, Raw], kinds: str, *, widen: bool = True) -> dict[Split, Raw]:
    """The arrays, if their types are of `kinds` and alike, and their shapes the same in all splits."""
    first = next(iter(raws.values()))
    for raw in raws.values():
        if raw.array.dtype.kind not in kinds:
            wanted = "integers" if kinds == "iu" else "numbers"
            raise DataError(raw.where, f"{raw.name!r} has type {raw.array.dtype}; {wanted} are needed")
        if (raw.array.shape[1:], raw.array.dtype.newbyteorder("=")) != (
            first.array.shape[1:],
            first.array.dtype.newbyteorder("="),
        ):
            ours, theirs = (f"{one.array.dtype}{list(one.array.shape[1:])}" for one in (first, raw))
            problem = f"examples of {first.name!r} are {ours}, of {raw.name!r} {theirs}"
            raise DataError(raw.where, problem, hint="all splits need the same type and shape")
    if widen and first.array.ndim == 1:  # one number an example is a row of one
        return {split: Raw(raw.where, raw.name, raw.array[:, None]) for split, raw in raws.items()}
    return dict(raws)


def _real(raw: Raw, dtype: str) -> Column:
    """A column of the given type, checked to be finite: now if in memory, batch by batch if mapped."""
    if isinstance(raw.array, np.memmap):
        return Mapped(raw.array, dtype, finite_rows(raw.where, raw.name))
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is reported as such
        made = np.ascontiguousarray(raw.array, dtype)
    check_finite(raw.where, raw.name, made)
    return made
