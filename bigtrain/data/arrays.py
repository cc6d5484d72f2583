"""Arrays as a data source: equally long columns, in memory or mapped from disk, and subsets of their rows."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from bigtrain.data.spec import SPLITS, Dataset, Field, Reader, Source, Spec, Split, Vocabulary

LARGE = 1 << 30  # bytes above which a set on disk is mapped rather than read
RESIDENT = 256 << 20  # bytes of one map that may stay in the process's resident set
FAULT_AROUND = 64 << 10  # Linux maps up to this much of the page cache around each page that is touched
PIECE = 1 << 16  # rows looked at at once
SHOWN = 8  # classes that a note names
READ_AHEAD = 128 << 10  # what Linux reads on a page fault unless it is told that access is random

RowCheck = Callable[[np.ndarray, np.ndarray], None]  # (rows, their indices): raises when a row can't be used


class Column(Protocol):
    """What a column must offer: a NumPy array does, and so does `Mapped`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first, then the shape of one example's value."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The type that a gather returns."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray:
        """The rows at `indices`, stacked."""
        ...


class Mapped:
    """A memory-mapped column that keeps little of its file in memory, converts rows as they are read, and checks them.

    Pages of a mapped file count as resident memory once touched, so a random pass over a 20 GB file would look like
    20 GB in use (and be killed where a container counts so). They are handed back every 256 MB.

    Args:
        array: a `numpy.memmap`, or a view of one.
        dtype: what the rows are converted to when gathered; as stored by default.
        check: called with the gathered rows and their indices.
    """

    def __init__(self, array: np.ndarray, dtype: str | None = None, check: RowCheck | None = None) -> None:
        self.array, self.check = array, check
        self.dtype = np.dtype(dtype) if dtype else array.dtype.newbyteorder("=")
        self.row_bytes = int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize
        self._map = _map_of(array)
        self._touched = 0
        # Below the read-ahead window, what is read around a row is thrown away; above it, it is the row itself.
        if self._map is not None and self.row_bytes < READ_AHEAD and hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first, then the shape of one example's value."""
        return self.array.shape

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices)
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        cost = self.row_bytes + FAULT_AROUND
        most = max(1, RESIDENT // cost)
        for at in range(0, len(indices), most):
            part = indices[at : at + most]
            if self._touched + len(part) * cost > RESIDENT:
                self._release()
            self._touched += len(part) * cost
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite; `check` reports it
                rows[at : at + most] = self.array[part]
        if self.check is not None:
            self.check(rows, indices)
        return rows

    def _release(self) -> None:
        """Let the system take the pages back; the next access reads them from its file cache, or the disk."""
        self._touched = 0
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _map_of(array: np.ndarray) -> mmap.mmap | None:
    """The map under an array or under the arrays that it is a view of."""
    owner: object = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = getattr(owner, "base", None)
    return owner


@dataclass(frozen=True)
class Arrays:
    """Equally long columns under their batch keys, or the rows of them that `indices` names."""

    columns: Mapping[str, Column]
    indices: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.indices is None else len(self.indices)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.asarray(indices) if self.indices is None else self.indices[indices]
        return {name: column[rows] for name, column in self.columns.items()}

    def subset(self, indices: np.ndarray) -> Arrays:
        """The examples at `indices` of this source, as a source that shares its columns; itself where that is all."""
        if len(indices) == len(self) and np.array_equal(indices, np.arange(len(self))):
            return self
        return replace(self, indices=np.asarray(indices) if self.indices is None else self.indices[indices])


def _unlearnt(train: Source | None, classes: tuple[str, ...] | None) -> dict[str, str]:
    """A note that names the classes no training example has, the first eight of them; {} where there are none."""
    if not isinstance(train, Arrays) or "targets" not in train.columns or not classes:
        return {}
    rows = np.arange(len(train.columns["targets"])) if train.indices is None else train.indices
    labels = train.columns["targets"][rows]
    if labels.ndim == 2 and "lengths" in train.columns:
        labels = labels[np.arange(labels.shape[1]) < train.columns["lengths"][rows][:, None]]
    missing = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(classes)) == 0)
    if not len(missing):
        return {}
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    return {"classes": f"no training example of: {', '.join(classes[label] for label in missing[:SHOWN])}{more}"}


def _bounded(entry: Field, train: Source | None) -> Field:
    """Real inputs with their least and greatest value in training, where that is in memory as it is used."""
    plain = entry.kind == "features" and entry.dtype == "float32" and (entry.scale, entry.shift) == (1.0, 0.0)
    if not plain or entry.low is not None or not isinstance(train, Arrays) or not len(train):
        return entry
    column = train.columns["inputs"]
    if not isinstance(column, np.ndarray) or not column.size:
        return entry
    bounds = []
    for at in range(0, len(train), PIECE):
        rows = np.arange(at, min(at + PIECE, len(train)))
        rows = rows if train.indices is None else train.indices[rows]
        found = column[rows]
        bounds.append((float(found.min()), float(found.max())))
    return replace(entry, low=min(low for low, _ in bounds), high=max(high for _, high in bounds))


def dataset(
    name: str,
    fields: Mapping[str, Field],
    splits: Mapping[Split, Source],
    *,
    classes: tuple[str, ...] | None = None,
    vocabulary: Vocabulary | None = None,
    target_vocabulary: Vocabulary | None = None,
    reader: Reader | None = None,
    notes: Mapping[str, str] | None = None,
) -> Dataset:
    """A data set of the given splits, of which the empty ones are left out."""
    sizes = {split: len(splits[split]) if split in splits else 0 for split in SPLITS}
    fields = {**fields, "inputs": _bounded(fields["inputs"], splits.get("train"))}
    found = {**(notes or {}), **_unlearnt(splits.get("train"), classes)}
    spec = Spec(name, dict(fields), sizes, classes, vocabulary, target_vocabulary, reader, found)
    return Dataset(spec, {split: splits[split] for split in SPLITS if sizes[split]})
