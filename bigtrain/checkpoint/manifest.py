"""The manifest of a checkpoint: SHA-256 and size of every file, written last, checked before anything is used.

It is canonical JSON with a hash of its own: a manifest that is not what its files would be written as is damaged, be it
in a space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bigtrain.checkpoint.durable import sync_all, write_durably
from bigtrain.config.errors import InputError

NAME = "manifest.json"
VERSION = 1
PIECE = 1 << 20  # bytes that are hashed at once


class Damaged(InputError):
    """A checkpoint whose files are not what was saved; the message names the file."""


def write(folder: Path, step: int) -> None:
    """Makes everything in a folder durable, and writes down what it is."""
    files = {str(path.relative_to(folder)): _entry(path) for path in sorted(_files(folder))}
    sync_all([*(folder / name for name in files), *(path for path in folder.rglob("*") if path.is_dir())])
    write_durably(folder / NAME, _text(step, files))


def check(folder: Path, step: int, share: tuple[int, int] = (0, 1)) -> str | None:
    """What is wrong with a checkpoint, in words that begin with the file's path; None where nothing is.

    Args:
        folder: the checkpoint.
        step: that it is said to be of.
        share: (index, count) of processes that look at a part of the files each.
    """
    try:
        files = _read(folder, step)
        for name in sorted(files)[share[0] :: share[1]]:
            _compare(folder / name, files[name])
    except Damaged as found:
        return str(found)
    return None


def verified(folder: Path, step: int, name: str) -> bytes:
    """The content of one file of a checkpoint; `Damaged` where it is not what was saved."""
    wanted = _read(folder, step).get(name)
    if wanted is None:
        raise Damaged(f"{folder / NAME}: is damaged: it has no {name}")
    path = folder / name
    try:
        found = path.read_bytes()  # once: what is looked at is what is returned, though it be deleted in between
    except FileNotFoundError as error:
        raise Damaged(f"{path}: is missing") from error
    except OSError as error:
        raise Damaged(f"{path}: can't be read: {error.strerror or error}") from error
    if len(found) != wanted["bytes"] or hashlib.sha256(found).hexdigest() != wanted["sha256"]:
        raise Damaged(f"{path}: is damaged: its content is not what was saved")
    return found


def _read(folder: Path, step: int) -> dict[str, dict[str, Any]]:
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
        files = json.loads(text)["files"]
        same = _text(step, files) == text
    except FileNotFoundError as error:
        raise Damaged(f"{path}: is missing: this is no complete checkpoint") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Damaged(f"{path}: is damaged: {_first(error)}") from error
    if not same:
        raise Damaged(f"{path}: is damaged: it is not as it was written for step {step}")
    return dict(files)


def _compare(path: Path, wanted: dict[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != wanted["bytes"]:
            raise Damaged(f"{path}: is damaged: it has {size:,} bytes instead of {wanted['bytes']:,}")
        if _hash(path) != wanted["sha256"]:
            raise Damaged(f"{path}: is damaged: its content is not what was saved")
    except FileNotFoundError as error:
        raise Damaged(f"{path}: is missing") from error
    except OSError as error:
        raise Damaged(f"{path}: can't be read: {error.strerror or error}") from error


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": _hash(path), "bytes": path.stat().st_size}


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _text(step: int, files: dict[str, Any]) -> str:
    facts: dict[str, Any] = {"version": VERSION, "step": step, "files": files}
    own = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return json.dumps({**facts, "sha256": own}, indent=1, sort_keys=True) + "\n"


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
