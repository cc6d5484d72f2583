"""What is checked of a file before it is read: that it is one, that it lies where it seems to, and that it fits.

A data set may come from a stranger. A pipe in it would block for ever, a device never ends, a link may lead to the
user's own files, and a megabyte may unpack to a terabyte.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from bigtrain.config import untrusted
from bigtrain.config.errors import DataError
from bigtrain.data.checks import available_memory, check_memory, gigabytes

BLOCK = 4 << 20
"""Bytes that are unpacked between two looks at how many there are."""

CELL = 4
"""Bytes of memory that a cell of a table takes at least: a code of its value."""

LONGEST_LINE = 4 << 20
"""Characters of a line of a table: a row of 100,000 columns has about a million."""


def check_regular(path: Path) -> None:
    """Refuses a pipe, a socket or a device; folders and missing files have answers of their own."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(path, "is no regular file")


def check_inside(folder: Path, paths: Iterable[Path]) -> None:
    """Refuses files of a folder that are links out of it, pipes or devices."""
    root = folder.resolve()
    for path in paths:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise leads_out(path, folder)
        check_regular(path)


def leads_out(path: object, folder: Path) -> DataError:
    """The error for a link that leads out of the folder of a data set."""
    hint = f"if the data is yours, copy what the links point to: cp -rL {folder} NEW (with -l, without taking space)"
    return DataError(path, f"is a link that leads out of {folder}", hint=hint)


def check_tree(folder: Path) -> None:
    """The same for everything below a folder."""
    untrusted.check_contained(folder)


def check_archive(path: Path, hint: str) -> None:
    """Refuses a pipe, and a zip archive that says to unpack to more than there is memory for.

    What it says is the most that is read: Python's zipfile stops there.
    """
    check_regular(path)
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_memory(path, sum(info.file_size for info in archive.infolist()), hint)


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does, whatever its name."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def unpacked(path: Path, copies: int, hint: str) -> bytes:
    """The content of a gzip file, if there is memory for it.

    Args:
        path: the file.
        copies: bytes of memory that the caller needs for each byte.
        hint: what to do when it is too large.
    """
    free, found = available_memory(), bytearray()
    try:
        with gzip.open(path) as stream:
            while block := stream.read(BLOCK):
                found += block
                if free is not None and copies * len(found) > free:
                    problem = f"unpacks to more than {gigabytes(len(found))}, for which there is not enough of memory"
                    raise DataError(path, problem, hint=hint)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        hint = "the file was cut short or damaged: fetch it again"
        raise DataError(path, f"is not a whole gzip file: {error}", hint=hint) from error
    return bytes(found)


def check_cells(path: Path, cells: int, free: int | None) -> None:
    """Refuses a table once more of its cells were read than fit into the `free` bytes that there were at the start."""
    if free is not None and cells * CELL > free:
        raise DataError(
            path, f"has more than {cells:,} cells, too many for the memory there is", hint="use a part of it"
        )


def lines(path: Path, stream: TextIO) -> Iterator[str]:
    """The lines of a text, none of which may be endless."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            raise DataError(path, f"has a line of more than {LONGEST_LINE:,} characters", hint="is it a table?")
        yield line
