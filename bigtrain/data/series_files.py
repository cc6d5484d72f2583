"""Sequences of several channels from files: each example [T, C], of its own length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.bounds import check_archive
from bigtrain.data.ts_format import SeriesFile, read_ts

SUFFIXES = (".ts", ".npz", ".npy")
NAMES = {
    "values": ("values", "x", "inputs", "series", "data"),
    "lengths": ("lengths",),
    "targets": ("y", "targets", "labels", "target", "label"),
}
RAGGED = "save the rows of all examples below each other as 'values' [sum of lengths, channels], and 'lengths'"


@dataclass(frozen=True)
class Ragged:
    """The examples of one file or split, and their targets as stored."""

    where: object
    values: list[np.ndarray]  # each [T, C], float64; NaN where a value is missing
    targets: np.ndarray | None
    classes: tuple[str, ...] = ()  # as the file lists them
    real: bool = False  # the file says that the targets are real


def read_series(path: Path, split: str = "train") -> Ragged | None:
    """The examples of a file; None where an archive has none for the split.

    Raises:
        DataError: for a file that holds no sequences.
    """
    suffix = path.suffix.lower()
    if suffix == ".ts":
        return _of_ts(read_ts(path))
    if suffix not in SUFFIXES:
        raise DataError(
            path, f"can't read {suffix or 'a file without a suffix'}", hint=f"it reads {' '.join(SUFFIXES)}"
        )
    arrays = _arrays(path)
    found = {role: _named(arrays, names, split) for role, names in NAMES.items()}
    values = found["values"] if suffix == ".npz" else arrays["values"]
    if values is None:
        if split != "train":
            return None
        problem = f"none of its arrays ({', '.join(arrays)}) is called x or values"
        raise DataError(path, problem, hint="numpy.savez(path, x=…, lengths=…, y=…)")
    return Ragged(path, _examples(path, values, found["lengths"]), found["targets"])


def _of_ts(found: SeriesFile) -> Ragged:
    targets: np.ndarray | None = None if found.targets is None else np.array(found.targets)
    if targets is not None and found.header.real:
        try:
            targets = targets.astype(np.float64)
        except ValueError as error:
            raise DataError(found.path, f"a target is no number: {str(error).rsplit(':', 1)[-1].strip()}") from error
    return Ragged(found.path, found.values, targets, found.header.classes, found.header.real)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive by name, or the one of an .npy as 'values'; objects are never unpickled."""
    try:
        check_archive(path, "use a part of it, or save the one array as an .npy")
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"values": loaded}
        with loaded as archive:
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for a damaged file
        if "allow_pickle" in str(error) or "bject" in str(error):
            raise DataError(path, "holds pickled Python objects, which are never loaded", hint=RAGGED) from error
        raise DataError(path, f"can't be read: {' '.join(str(error).split())[:200]}") from error


def _named(arrays: dict[str, np.ndarray], names: tuple[str, ...], split: str) -> np.ndarray | None:
    """The array of a role: `x_test` or `test_x` for a split, for training also plain `x`."""
    words = {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test",)}[split]
    known = {name.lower(): array for name, array in arrays.items()}
    for name in names:
        spelled = [form for word in words for form in (f"{name}_{word}", f"{word}_{name}")]
        for form in [*spelled, *([name] if split == "train" else [])]:
            if form in known:
                return known[form]
    return None


def _examples(path: Path, values: np.ndarray, lengths: np.ndarray | None) -> list[np.ndarray]:
    """The examples of a padded array [N, T] or [N, T, C], or of rows below each other [sum of lengths, C]."""
    if values.dtype.kind not in "biuf":
        raise DataError(path, f"the values are {values.dtype}, not numbers")
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any()):
        raise DataError(path, "lengths must be positive integers, one an example")
    if lengths is not None and values.ndim <= 2 and int(lengths.sum()) == len(values) != len(lengths):
        rows = values.reshape(len(values), -1).astype(np.float64)
        return np.split(rows, np.cumsum(lengths)[:-1])
    if values.ndim not in (2, 3) or not values.size:
        problem = f"the values have the shape {list(values.shape)}; [examples, steps] or [examples, steps, channels]"
        raise DataError(path, f"{problem} is needed", hint=f"of different lengths: {RAGGED}")
    cube = values.astype(np.float64).reshape(*values.shape[:2], -1)
    if lengths is None:
        return list(cube)
    if len(lengths) != len(cube) or (lengths > cube.shape[1]).any():
        problem = f"lengths has {len(lengths)} entries up to {lengths.max(initial=0)}"
        raise DataError(path, f"{problem}, and there are {len(cube)} examples of {cube.shape[1]} steps", hint=RAGGED)
    return [example[:length] for example, length in zip(cube, lengths, strict=True)]
