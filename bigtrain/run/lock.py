"""One trainer a run directory: a lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bigtrain.config.errors import InputError
from bigtrain.parallel import distributed

NAME = ".lock"

_own = threading.local()  # the folders that this thread holds: what calls each other may ask again


class Taken(InputError):
    """Another trainer has the run directory."""


@contextmanager
def held(folder: Path) -> Generator[None]:
    """Keeps a run directory for this thread while the block runs; of several processes, process 0 holds it for all.

    Raises:
        Taken: when another trainer has it, be it a process, or a thread of this one.
    """
    key = os.path.realpath(folder)
    mine: set[str] = _own.__dict__.setdefault("folders", set())
    if key in mine:
        yield
        return
    descriptors: list[int] = []
    distributed.current().shared("lock", lambda: descriptors.append(_locked(folder)))
    mine.add(key)
    try:
        yield
    finally:
        mine.discard(key)
        for descriptor in descriptors:
            os.close(descriptor)


def _locked(folder: Path) -> int:
    """The open file whose lock is held."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"run_dir: can't write to {str(folder)!r}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        hint = "wait until it ends, or choose another run_dir"
        raise Taken(f"run_dir: {str(folder)!r} is being trained by {holder}\n  {hint}") from error
    except OSError:
        return descriptor  # a file system without locks: two trainers can't be told apart there (docs/reliability.md)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return descriptor
