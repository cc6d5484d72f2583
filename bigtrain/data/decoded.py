"""Files as a column of arrays: decoded by several threads, once at the start where they fit in memory, else as read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.arrays import Column
from bigtrain.data.checks import available_memory
from bigtrain.data.folders import Found
from bigtrain.data.progress import files, rate, shown

Head = TypeVar("Head")
THREADS = 8  # at most; a thread a core is enough where decoding holds no lock of the interpreter
KEPT_BYTES = 512 << 20  # a set up to this size is decoded once, at the start


class Unreadable(ValueError):
    """A file that can't be used, and why."""


class Decoder(Protocol):
    """Makes an array of a file, always of the same shape."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one array."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Its type."""
        ...

    def decode(self, source: Path) -> np.ndarray:
        """The array of one file; raises `Unreadable`."""
        ...


@dataclass(frozen=True)
class Decoded:
    """A column of files that are decoded as they are read.

    Args:
        root: the folder of the paths.
        paths: the files.
        decoder: what makes an array of each.
        what: what they are called: images, sounds.
    """

    root: Path
    paths: tuple[str, ...]
    decoder: Decoder
    what: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Files first, then the shape of one array."""
        return (len(self.paths), *self.decoder.shape)

    @property
    def dtype(self) -> np.dtype:
        """The decoder's."""
        return self.decoder.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        rows = np.empty((len(indices), *self.decoder.shape), self.dtype)
        made = self._each([int(at) for at in indices])
        if len(indices) == len(self):  # the whole set is read once, before training
            made = shown(made, f"decoding {self.what}", len(self))
        for place, found in enumerate(made):
            if isinstance(found, str):
                hint = "remove it, or set data.broken=skip" if len(self) > 1 else None
                raise DataError(self.root / self.paths[int(indices[place])], found, hint=hint)
            rows[place] = found
        return rows

    def all_but_broken(self, *, keep: bool) -> tuple[np.ndarray, dict[int, str]]:
        """Every array that can be decoded, stacked, and what is wrong with each of the other files, by number.

        Args:
            keep: return the arrays; without, none, for a set that doesn't fit in memory.
        """
        rows = np.empty((len(self) if keep else 0, *self.decoder.shape), self.dtype)
        broken: dict[int, str] = {}
        for at, found in enumerate(shown(self._each(range(len(self))), f"decoding {self.what}", len(self))):
            if isinstance(found, str):
                broken[at] = found
            elif keep:
                rows[at] = found
        return np.delete(rows, list(broken), axis=0) if keep and broken else rows, broken

    def _each(self, indices: Sequence[int]) -> Iterator[np.ndarray | str]:
        """Each array, or what is wrong with its file."""

        def one(at: int) -> np.ndarray | str:
            try:
                return self.decoder.decode(self.root / self.paths[at])
            except Unreadable as problem:
                return str(problem)

        return in_threads(one, indices)


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads that decode, one set a process."""
    return ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), thread_name_prefix="bigtrain-decode")


def in_threads(work: Callable[[int], Any], indices: Sequence[int]) -> Iterator[Any]:
    """`work` of each index, in order, done by several threads a block ahead."""
    block = 32 * THREADS  # a bounded number waits: the arrays of a million pictures would not fit
    for first in range(0, len(indices), block):
        yield from _pool().map(work, indices[first : first + block])


def looked_at(
    found: Found, head: Callable[[Path], Head], chosen: Sequence[int], what: str, *, skip: bool
) -> tuple[Found, list[Head]]:
    """What the first bytes of the `chosen` files say, and the set without those that make no sense, if skipped."""

    def one(at: int) -> Head | Unreadable:
        try:
            return head(found.root / found.paths[at])
        except Unreadable as problem:
            return problem

    heads: list[Head] = []
    broken: dict[int, str] = {}
    for at, seen in zip(chosen, shown(in_threads(one, chosen), f"looking at {what}", len(chosen)), strict=True):
        if not isinstance(seen, Unreadable):
            heads.append(seen)
        elif not skip:
            hint = "remove it, or leave such files out: data.broken=skip"
            raise DataError(found.root / found.paths[at], str(seen), hint=hint)
        else:
            broken[at] = str(seen)
    if not heads:
        first = next(iter(broken.values()))
        raise DataError(found.root, f"none of its {len(found.paths):,} {what} can be read; the first: {first}")
    return _skipped(found, broken), heads


def _skipped(found: Found, broken: dict[int, str]) -> Found:
    """The set without the broken files, which a note counts."""
    if not broken:
        return found
    before = found.notes.get("skipped")
    text = f"{files(len(broken))} broken, such as {found.paths[next(iter(broken))]}"
    return found.without(broken).note(skipped=f"{before}; {text}" if before else text)


def kept(found: Found, decoder: Decoder, what: str, *, skip: bool) -> tuple[Found, Column, dict[int, str]]:
    """The arrays in memory if they fit, else a column that decodes as it is read.

    Returns:
        The set without the broken files if they are skipped, its column, and those files by their number before.
    """
    column = Decoded(found.root, found.paths, decoder, what)
    free = available_memory()
    fits = column.nbytes <= KEPT_BYTES and (free is None or column.nbytes < free)
    if not fits and not skip:
        return found.note(**{what: f"{len(column):,}, decoded as they are read"}), column, {}
    started = time.perf_counter()
    broken: dict[int, str] = {}
    if skip:
        rows, broken = column.all_but_broken(keep=fits)
    else:
        rows = column[np.arange(len(column))]
    done = rate(what, len(column), time.perf_counter() - started)
    rest = _skipped(found, broken).note(
        decoded=done if fits else f"{done}, to find broken ones; again as they are read"
    )
    return rest, rows if fits else replace(column, paths=rest.paths), broken


def whole(column: Decoded) -> np.ndarray:
    """All arrays, for prediction; one broken file among them is refused, and how many there are."""
    rows, broken = column.all_but_broken(keep=True)
    if broken:
        at, problem = next(iter(broken.items()))
        more = f" ({len(broken):,} such files)" if len(broken) > 1 else ""
        hint = "predict answers for every file: take those that can't be read away"
        raise DataError(column.root / column.paths[at], f"{problem}{more}", hint=hint)
    return rows
