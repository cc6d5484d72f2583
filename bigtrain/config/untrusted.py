"""Files that may come from a stranger: read as plain data, of bounded size and depth, from regular files alone.

YAML is read without aliases: nine lines of them can stand for a billion items. What is nested deeper than anything of
ours is refused before some function walks into it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bigtrain.config.errors import DataError

SMALL = 4 << 20
"""Bytes of a file that a person could have typed: a config, overrides, a result. Ours have under 100 KB."""

LARGE = 256 << 20
"""Bytes of a file with a vocabulary or a tokenizer in it; the largest in use, of 256,000 tokens, have about 40 MB."""

DEEPEST = 64
"""Tables within tables; ours have at most 8."""


class _Plain(yaml.SafeLoader):
    """The safe loader, without aliases; not the one in C, which crashes on deep nesting."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node; an alias is an error."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("has aliases, which no run writes")
        return super().compose_node(parent, index)


def read_bytes(path: Path, most: int = SMALL) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        FileNotFoundError: when there is no such file.
        DataError: for a pipe, a device or a folder, which could block or never end, and for a larger file.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with open(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise DataError(path, "is no regular file")
            found = file.read(min(most, os.fstat(number).st_size) + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror or error}") from error
    if len(found) > most:
        raise DataError(path, f"is larger than the {most >> 20} MB that are read")
    return found


def read_text(path: Path, most: int = SMALL) -> str:
    """The same as UTF-8 text."""
    raw = read_bytes(path, most)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, f"is no UTF-8 text: byte {error.start}") from error


def read_json(path: Path, most: int = SMALL) -> Any:
    """What a JSON file holds; see `read_bytes`."""
    return parsed_json(read_text(path, most), path)


def parsed_json(text: str, where: object) -> Any:
    """What a JSON text says; `where` names it in the error."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise _too_deep(where) from error
    except ValueError as error:
        raise DataError(where, f"can't be read: {_short(error)}") from error
    return _shallow(found, where)


def read_yaml(path: Path, most: int = SMALL) -> Any:
    """What a YAML file holds, as plain data; see `read_bytes`."""
    try:
        found = plain_yaml(read_text(path, most))
    except RecursionError as error:
        raise _too_deep(path) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a date that there isn't, an integer without end
        raise DataError(path, f"can't be read: {_short(error)}") from error
    return _shallow(found, path)


def plain_yaml(text: str) -> Any:
    """What a YAML text says, without aliases; raises `yaml.YAMLError`, `ValueError` or `RecursionError`."""
    loader = _Plain(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def check_contained(folder: Path) -> None:
    """Refuses a folder in which a link leads out of it, or that holds a pipe or a device.

    What is written to `folder/x` would go where the link points, and what is read would come from there. A link of the
    folder itself is the user's own: it was typed.
    """
    root = os.path.realpath(folder)
    for path, kind in _entries(folder):
        if stat.S_ISLNK(kind):
            if not _within(os.path.realpath(path), root):
                hint = "copy what it points to in its place, if the folder is yours"
                raise DataError(path, f"is a link that leads out of {folder}", hint=hint)
        elif not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise DataError(path, "is no regular file")


def _entries(folder: Path) -> Iterator[tuple[str, int]]:
    """Every path under a folder with what it is; links aren't followed."""
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    yield entry.path, entry.stat(follow_symlinks=False).st_mode
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:  # a checkpoint that another process drops
            continue
        except OSError as error:
            raise DataError(error.filename or folder, f"can't be read: {error.strerror}") from error


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _shallow(found: Any, where: object) -> Any:
    """The value itself, once it is clear that no part of it is nested too deeply."""
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise _too_deep(where)
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        level = [value for items in inner for value in items if isinstance(value, (dict, list))]
    return found


def _too_deep(where: object) -> DataError:
    return DataError(where, f"is nested deeper than the {DEEPEST} levels that are read")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
