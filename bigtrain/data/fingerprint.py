"""What a data set holds, in a few letters: a run goes on with the examples it began with, or says what has changed.

What is in memory is looked at whole: sums of 8-byte words over rows and columns of a megabyte laid out as a table, at
the speed of memory, and SHA-256 over these sums. A changed value changes a sum, a moved one two. Of a file that is
mapped, its size and 64 blocks count; when it was last written is kept beside, since a copy is younger and the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.data.arrays import Mapped
from bigtrain.data.spec import Dataset, Source, Spec

WORDS = 512  # in a row of the table, of 8 bytes each
TABLE = 256 * WORDS  # words that are looked at at once: a megabyte stays in the cache for both sums
BLOCKS, BLOCK = 64, 4096  # of a mapped file, and their bytes
LISTED = 4096  # files of a folder whose size is asked for
EXAMPLES = 4  # of a source that holds no arrays

Fingerprint = dict[str, Any]
"""For each split `examples`, `content` (a hash) and `written` (when its files were last changed, or null)."""


def fingerprint(dataset: Dataset) -> Fingerprint:
    """The fingerprint of every split, and that of the meaning of the numbers (classes, vocabulary)."""
    found: Fingerprint = {"meaning": _meaning(dataset.spec)}
    known: dict[int, tuple[np.ndarray, bytes]] = {}
    for split, source in dataset.splits.items():
        seen = _Seen(known)
        seen.object(source)
        if seen.opaque or not seen.parts:
            seen.examples(source)
        found[split] = {"examples": len(source), "content": seen.digest(), "written": seen.written}
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each split that holds something else than before."""
    lines = []
    for name in dict.fromkeys([*before, *now]):
        one, other = before.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            if (one["examples"], one["content"]) == (other["examples"], other["content"]):
                continue
        elif one == other:
            continue
        lines.append(f"{name}: {_shown(one)} there, {_shown(other)} here")
    return lines


def touched(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether mapped files were written since, although what was looked at in them is as before."""
    splits = [name for name in before if isinstance(before[name], dict) and isinstance(now.get(name), dict)]
    return any(before[name]["written"] != now[name]["written"] for name in splits)


def _shown(entry: Any) -> str:
    if entry is None:
        return "none"
    return f"{entry['examples']:,} examples {entry['content'][:12]}" if isinstance(entry, dict) else str(entry)[:12]


def _meaning(spec: Spec) -> str:
    fields = {name: (entry.kind, entry.shape, entry.dtype, entry.scale) for name, entry in spec.fields.items()}
    tables = [dataclasses.astuple(table) if table else None for table in (spec.vocabulary, spec.target_vocabulary)]
    return hashlib.sha256(repr((fields, spec.classes, tables)).encode()).hexdigest()


class _Seen:
    """What was found in one source: a hash of each array and table of texts, and when its files were last written."""

    def __init__(self, known: dict[int, tuple[np.ndarray, bytes]]) -> None:
        self.known = known  # hashes of the arrays that splits share, by their id
        self.parts: list[bytes] = []
        self.written: int | None = None
        self.opaque = False  # whether something was met that can't be looked into
        self._inside: set[int] = set()

    def digest(self) -> str:
        """The hash of all that was found."""
        return hashlib.sha256(b"".join(self.parts)).hexdigest()

    def object(self, value: Any, *, ours: bool = True) -> None:
        """Adds the arrays, files and tables of texts that an object holds; its settings are the config's."""
        if isinstance(value, Mapped):
            self._array(value.array)
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, Mapping):
            self._all(value.values())
        elif isinstance(value, (tuple, list)):
            self._table(value)
        elif type(value).__module__.startswith("bigtrain."):
            self._fields(value)
        elif hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, (str, bytes)):
            before = len(self.parts)
            if ours:  # a source of the user's own: what it holds, and no deeper
                for item in vars(value).values() if hasattr(value, "__dict__") else ():
                    self.object(item, ours=False)
            self.opaque = self.opaque or len(self.parts) == before

    def examples(self, source: Source) -> None:
        """A few examples, of a source that can't be looked into."""
        rows = np.unique(np.linspace(0, len(source) - 1, EXAMPLES).astype(np.int64))
        for _, values in sorted(source[rows].items()):
            self._array(np.asarray(values))

    def _fields(self, value: Any) -> None:
        if id(value) in self._inside or not hasattr(value, "__dict__"):
            return
        self._inside.add(id(value))
        held = {name: item for name, item in vars(value).items() if not name.startswith("_")}
        paths = held.get("paths", ()) if isinstance(held.get("root"), Path) else held.pop("files", ())
        root = held.get("root", Path())
        self._files([root / paths[at] for at in _spread(len(paths), LISTED)])
        self._all(held.values())

    def _all(self, items: Iterable[Any]) -> None:
        for item in items:
            self.object(item)

    def _table(self, items: Sequence[Any]) -> None:
        if not items or not all(isinstance(item, str) for item in items):
            self._all(items)
        else:
            self.parts.append(hashlib.sha256("\0".join(items).encode(errors="replace")).digest())

    def _array(self, array: np.ndarray) -> None:
        file = _file_of(array)
        if id(array) not in self.known:
            base, layout = array, (array.dtype.str, array.shape)
            under = _under(array)
            if file is None and under is not None and under.nbytes < array.nbytes:  # windows that overlap
                start = array.__array_interface__["data"][0] - under.__array_interface__["data"][0]
                base, layout = under, (*layout, array.strides, start)
            content = b"".join(_blocks(array) if file is not None else _sums(base))
            self.known[id(array)] = (array, hashlib.sha256(repr(layout).encode() + content).digest())
        self.parts.append(self.known[id(array)][1])
        if file is not None:
            self._files([Path(file)])

    def _files(self, paths: Sequence[Path]) -> None:
        """Names and sizes of files; the folder that they lie in doesn't count."""
        for path in paths:
            with contextlib.suppress(OSError):  # what can't be read is reported when it is read
                facts = path.stat()
                self.parts.append(f"{path.name} {facts.st_size}".encode())
                self.written = max(self.written or 0, facts.st_mtime_ns)


def _spread(number: int, most: int) -> list[int]:
    """Up to `most` places among `number`, the first and the last among them."""
    return sorted(
        {round(at * (number - 1) / max(most - 1, 1)) for at in range(most)} if number > most else range(number)
    )


def _file_of(array: np.ndarray) -> str | None:
    """The file that an array is mapped from, be it a view of such an array."""
    owner: Any = array
    while owner is not None:
        if isinstance(owner, np.memmap) and owner.filename is not None:
            return os.fspath(owner.filename)
        owner = getattr(owner, "base", None)
    return None


def _under(array: np.ndarray) -> np.ndarray | None:
    """The array whose memory another is a view of."""
    owner, found = array.base, None
    while owner is not None:
        found = owner if isinstance(owner, np.ndarray) else found
        owner = getattr(owner, "base", None)
    return found


def _sums(array: np.ndarray) -> Iterator[bytes]:
    """Sums over all bytes of an array: of each 4 KB, and for each megabyte of every 512th word."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(flat) // 8
    words = flat[: 8 * whole].view(np.uint64)
    for at in range(0, whole, TABLE):
        part = words[at : at + TABLE]
        full = len(part) // WORDS * WORDS
        table = part[:full].reshape(-1, WORDS)
        yield table.sum(axis=1, dtype=np.uint64).tobytes()
        yield table.sum(axis=0, dtype=np.uint64).tobytes()
        yield part[full:].tobytes()
    yield flat[8 * whole :].tobytes()


def _blocks(array: np.ndarray) -> Iterator[bytes]:
    """The beginning and the end of 64 rows or so, evenly spaced from the first to the last."""
    for row in _spread(len(array), BLOCKS) if array.size and array.ndim else ():
        piece = np.ascontiguousarray(array[row]).reshape(-1)
        most = max(1, BLOCK // piece.itemsize)
        yield piece[:most].tobytes() + piece[-most:].tobytes()
