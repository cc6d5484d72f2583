"""Writes that survive a loss of power, and moves that are seen whole or not at all."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TRASH = ".trash-"
PARTIAL = ".partial"
DAMAGED = ".damaged"
SYNCED_AT_ONCE = 8


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Sequence[Path]) -> None:
    """The same of several; at once, since the disk takes about as long for all of them as for one."""
    list(_syncing().map(sync, paths))


@functools.cache
def _syncing() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SYNCED_AT_ONCE, thread_name_prefix="bigtrain-sync")


def write_durably(path: Path, text: str) -> None:
    """Writes a new file and waits until it is on the disk."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """Gives a folder its final name: one rename, on the disk when this returns."""
    sync(source)
    os.replace(source, target)
    sync(target.parent)


def remove(folder: Path) -> None:
    """Takes a folder away: one rename first, so that a kill leaves no half of it under its name."""
    trash = folder.with_name(f"{TRASH}{folder.name}")
    shutil.rmtree(trash, ignore_errors=True)
    os.replace(folder, trash)
    sync(folder.parent)
    shutil.rmtree(trash, ignore_errors=True)


def clear(directory: Path) -> None:
    """Takes away what saves and deletions left that were killed on their way."""
    for entry in directory.iterdir():
        if entry.is_dir() and (entry.name.startswith(TRASH) or entry.name.endswith(PARTIAL)):
            shutil.rmtree(entry, ignore_errors=True)


def discard(folder: Path) -> None:
    """Takes away what a failed save has written; its space is free when this returns."""
    shutil.rmtree(folder, ignore_errors=True)


def set_aside(folder: Path) -> None:
    """Renames a damaged checkpoint, so that none is found there."""
    target = folder.with_name(f"{folder.name}{DAMAGED}")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(folder, target)
    sync(folder.parent)


def clear_aside(directory: Path, step: int) -> None:
    """Takes away the damaged checkpoints up to a step: the run has passed it again."""
    for entry in directory.glob(f"*{DAMAGED}"):
        if entry.name.removesuffix(DAMAGED).isdigit() and int(entry.name.removesuffix(DAMAGED)) <= step:
            shutil.rmtree(entry, ignore_errors=True)
