"""One long series from a file, [T] or [T, C]: a CSV with a row for each step, or an array."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.bounds import check_archive

SUFFIXES = (".csv", ".tsv")
NAMES = ("values", "x", "series", "data", "inputs")
MISSING = ("", "?", "nan", "na", "null", "none")


@dataclass(frozen=True)
class Long:
    """A series [T, C], NaN where a value is missing; the names of its channels, and of columns that were left out."""

    values: np.ndarray
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def read_long(path: Path) -> Long:
    """Reads a long series.

    Raises:
        DataError: naming the row of a value that is no number.
    """
    if not path.is_file():
        raise DataError(path, "no such file", hint="data.path names a .csv, .npy or .npz with one long series")
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return _table(path)
    if suffix not in (".npy", ".npz"):
        raise DataError(path, f"can't read {suffix or 'a file without a suffix'}", hint="it reads .csv .tsv .npy .npz")
    try:
        check_archive(path, "save the one array as an .npy")
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded as archive:
                name = next((name for name in NAMES if name in archive), archive.files[0])
                loaded = archive[name]
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for a damaged file
        if "allow_pickle" in str(error) or "bject" in str(error):
            raise DataError(path, "holds pickled Python objects, which are never loaded") from error
        raise DataError(path, f"can't be read: {' '.join(str(error).split())[:200]}") from error
    if loaded.ndim not in (1, 2) or loaded.dtype.kind not in "biuf" or not loaded.size:
        problem = f"holds {loaded.dtype}{list(loaded.shape)}; one series [steps] or [steps, channels] is needed"
        raise DataError(path, problem)
    values = loaded.reshape(len(loaded), -1).astype(np.float64)
    return Long(values, tuple(str(channel) for channel in range(values.shape[1])))


def _table(path: Path) -> Long:
    """The columns of numbers of a CSV; those of dates or other texts are left out, and a first one that counts rows."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(path, f"is no UTF-8 text: byte {error.start}") from error
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror}") from error
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise DataError(path, "is empty")
    mark = max(",;\t", key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=mark))
    titled = not any(_number(cell) is not None for cell in rows[0])
    names = [cell.strip() for cell in rows[0]] if titled else [str(at) for at in range(len(rows[0]))]
    body = rows[1:] if titled else rows
    if not body:
        raise DataError(path, "holds a header and no rows")
    kept = [at for at, cell in enumerate(body[0]) if cell.strip().lower() in MISSING or _number(cell) is not None]
    if not kept:
        raise DataError(path, "has no column of numbers", hint=f"its first row is {mark.join(body[0])[:60]!r}")
    values = np.empty((len(body), len(kept)))
    for row, cells in enumerate(body):
        if len(cells) != len(names):
            raise DataError(path, f"row {row + 1 + titled} has {len(cells)} values, and there are {len(names)} columns")
        values[row] = _numbers(path, row + 1 + titled, [cells[at] for at in kept], [names[at] for at in kept])
    if kept[0] == 0 and len(kept) > 1 and len(body) > 1 and (np.diff(values[:, 0]) == 1).all():
        kept, values = kept[1:], values[:, 1:]  # a count of rows, or years: time itself, not a channel
    dropped = tuple(names[at] or "the first column" for at in range(len(names)) if at not in kept)
    return Long(values, tuple(names[at] for at in kept), dropped)


def _numbers(path: Path, row: int, cells: Sequence[str], names: Sequence[str]) -> list[float]:
    found = []
    for cell, name in zip(cells, names, strict=True):
        number = np.nan if cell.strip().lower() in MISSING else _number(cell)
        if number is None:
            hint = "the decimal sign must be a point" if "," in cell else None
            raise DataError(path, f"row {row}, column {name!r}: {cell.strip()[:40]!r} is no number", hint=hint)
        found.append(number)
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
