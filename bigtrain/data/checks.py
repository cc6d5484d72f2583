"""What is checked of every array before it is trained on; each problem is one `DataError` that says what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.arrays import Column, RowCheck

CHUNK_BYTES = 64 << 20  # looked at at once: the temporary arrays of a check stay small
LABEL_LIMIT = 1000  # a greatest label above this and above the number of examples is no class index
_CGROUP = Path("/sys/fs/cgroup")


def check_finite(where: object, name: str, column: Column) -> None:
    """Raise a DataError if any example of a float column holds NaN or an infinity: how many, and the first."""
    if column.dtype.kind != "f":
        return
    bad, first = 0, -1
    for rows in chunks(column):
        found = np.flatnonzero(~np.isfinite(column[rows]).reshape(len(rows), -1).all(axis=1))
        if len(found) and first < 0:
            first = int(rows[found[0]])
        bad += len(found)
    if bad:
        examples = "1 example that is" if bad == 1 else f"{bad} examples that are"
        raise DataError(
            where,
            f"{name!r} holds {examples} not finite in float32; the first has index {first}",
            hint="remove these examples or replace their NaN and infinite values",
        )


def finite_rows(where: object, name: str) -> RowCheck:
    """The same check for a mapped column: on the rows of each batch, since a pass over the file would take minutes."""

    def check(rows: np.ndarray, indices: np.ndarray) -> None:
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            index = indices[np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))[0]]
            hint = "remove such examples or replace their NaN and infinite values"
            raise DataError(where, f"{name!r} is not finite in float32 at index {index}", hint=hint)

    return check


def bounded_rows(where: object, name: str, size: int) -> RowCheck:
    """A check that the tokens of each batch lie in `range(size)`."""

    def check(rows: np.ndarray, indices: np.ndarray) -> None:
        outside = (rows < 0) | (rows >= size)
        if outside.any():
            index = indices[np.flatnonzero(outside.reshape(len(rows), -1).any(axis=1))[0]]
            raise DataError(where, f"{name!r} holds a token outside [0, {size}) at index {index}")

    return check


def chunks(column: Column) -> list[np.ndarray]:
    """Row indices that cover a column, in pieces of about 64 MB."""
    row_bytes = max(1, int(np.prod(column.shape[1:], dtype=np.int64)) * column.dtype.itemsize)
    step = max(1, CHUNK_BYTES // row_bytes)
    return [np.arange(at, min(at + step, len(column))) for at in range(0, len(column), step)]


def class_labels(
    where: object,
    name: str,
    values: np.ndarray,
    classes: int | None = None,
    *,
    steps: int | None = None,
    hint: str | None = None,
) -> tuple[np.ndarray, int]:
    """Class indices as int32 [N] or [N, steps], and how many classes: `classes`, or one more than the greatest label.

    Args:
        where: the file, for messages.
        name: what the array is called in it.
        values: [N], [N, 1] or [N, steps], integers or whole floats.
        classes: the number of classes, where it is known.
        steps: how many steps an example has, where there may be a label for each.
        hint: what to set if the values are no labels.

    Raises:
        DataError: for labels that are negative, not whole, or not below the number of classes.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape[1:] not in ((), (steps,)):
        each = f", or one at each of its {steps} steps," if steps and steps > 1 else ""
        problem = f"labels {name!r} have shape {values.shape}, one class index an example{each} is needed"
        raise DataError(where, problem, hint=hint)
    if values.dtype.kind == "f":
        _check_labels(where, name, values, values != np.floor(values), "is not a whole number", hint)
    elif values.dtype.kind not in "iub":
        raise DataError(where, f"labels {name!r} have type {values.dtype}, not integers")
    _check_labels(where, name, values, values < 0, "is negative; classes count from 0", hint)
    number = classes or int(values.max()) + 1
    _check_labels(where, name, values, values >= number, f"is not below the number of classes, {number}", hint)
    if not classes and number > max(LABEL_LIMIT, len(values)):
        raise DataError(where, f"labels {name!r} reach {number - 1} in only {len(values)} examples", hint=hint)
    return values.astype(np.int32), number


def _check_labels(
    where: object, name: str, values: np.ndarray, bad: np.ndarray, problem: str, hint: str | None
) -> None:
    """Raise for the first label marked in `bad`."""
    if bad.any():
        index, *step = np.argwhere(bad)[0].tolist()
        at = f"index {index}" + (f", step {step[0]}" if step else "")
        label = float(values[index, *step])
        raise DataError(where, f"label {label:g} of {name!r} at {at} {problem}", hint=hint)


def check_lengths(where: object, columns: Mapping[str, Column]) -> None:
    """Raise a DataError unless the columns are equally long and neither they nor their examples are empty."""
    for name, column in columns.items():
        if not column.shape:
            raise DataError(where, f"{name!r} is a single value, not an array of examples")
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
        raise DataError(where, f"the arrays have different numbers of examples: {listed}")
    if not all(sizes.values()):
        raise DataError(where, "the set is empty", hint="at least one example is needed")
    for name, column in columns.items():
        if 0 in column.shape:
            raise DataError(where, f"{name!r} has shape {column.shape}: its examples hold no values")


def available_memory() -> int | None:
    """Bytes that can still be taken, by the system's count and the container's limit; None where unknown."""
    try:
        found = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):
        return None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")] or found
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            held = [
                int(line.split()[1])
                for line in (_CGROUP / "memory.stat").read_text().splitlines()
                if line[:5] == "file "
            ]
            used = int((_CGROUP / "memory.current").read_text()) - sum(held)  # cached files are given up when needed
            found.append(int(limit) - used)
    except (OSError, ValueError, IndexError):
        pass
    return max(0, min(found))


def check_memory(where: object, needed: int, hint: str) -> None:
    """Raise a DataError if reading `needed` bytes would take more memory than there is."""
    free = available_memory()
    if free is not None and needed > free:
        raise DataError(where, f"needs {gigabytes(needed)} of memory, {gigabytes(free)} are available", hint=hint)


def gigabytes(number: int) -> str:
    """Bytes for a message: `1.5 GB`, or megabytes below one."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
