"""The C library's allocator: what the compiler left goes back to the system, what a program gives back is kept.

XLA allocates a program's intermediate results anew for each call. On a CPU, the C library takes an array of megabytes
from the system and returns it at the end of the call, so that every call touches new pages: 8,600 page faults a call
for a wide MLP with 35 MB of them, a tenth of its time (benchmarks/LOG.md). Memory that is kept costs nothing, since the
next call needs as much. The compiler's 100 to 300 MB are another matter: no program would ever use those pieces.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # parameters of mallopt(3)
NEVER = -1
LARGE = 8 << 20  # bytes of a state; what is left behind around a smaller one isn't worth the time to look
APART = 1 << 20  # bytes of an array that comes from the system by itself
_SETTLED = threading.Event()  # freed memory is kept


def settle() -> bool:
    """Gives back what the compiler has freed, and keeps what is freed from now on: for when a run is compiled.

    False, and nothing is done, where the C library isn't glibc or the user has tuned it.

    The arenas of threads hold up to 64 MB; what is larger still comes from the system, where the main thread doesn't
    compute (`devices.compute_in_calls`; `Pace` spreads its cost over several steps). One arena for all threads would
    hold it, but then they wait for each other.
    """
    library = _glibc()
    if library is None:
        return False
    library.malloc_trim(0)  # some 50 ms
    wanted = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER))
    if min(library.mallopt(name, value) for name, value in wanted) == 1:
        _SETTLED.set()
    return _SETTLED.is_set()


def give_back() -> None:
    """Gives back what has been freed so far: after what is large and rare, of which nothing would use the pieces.

    Nothing where `settle` wasn't called or did nothing. 6 to 17 ms of a process of 1 GB, and what the program needs
    next is taken anew.
    """
    library = _glibc()
    if _SETTLED.is_set() and library is not None:
        library.malloc_trim(0)


@contextmanager
def apart(size: int) -> Iterator[None]:
    """What is allocated inside is for long, or is not needed again: larger arrays come from the system each by itself,
    and go back to it when they are freed, as does what is free by then.

    Among what programs take and free with each call, what lasts would leave holes; and what is needed once, as a state
    is encoded, would stay at the ends of the arenas of other threads, from where `give_back` can't take it.

    Nothing for less than `LARGE` bytes, or where `settle` wasn't called or did nothing.
    """
    library = _glibc() if size >= LARGE and _SETTLED.is_set() else None
    if library is None:
        yield
        return
    for name, value in ((MMAP_THRESHOLD, APART), (MMAP_MAX, 1 << 16), (TRIM_THRESHOLD, APART)):
        library.mallopt(name, value)
    try:
        yield
    finally:
        settle()


@contextmanager
def room() -> Iterator[None]:
    """For what needs much memory once, as a compiler does: what programs keep goes back before, and what is left after.

    150 and 110 MB of a small GPT, whose samples are compiled between two steps.
    """
    give_back()
    try:
        yield
    finally:
        give_back()


def _glibc() -> Any:
    """The C library; None where it isn't glibc, or the user has tuned its allocator."""
    if not sys.platform.startswith("linux"):
        return None
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.malloc_trim and library.mallopt else None
    except (OSError, AttributeError):
        return None
