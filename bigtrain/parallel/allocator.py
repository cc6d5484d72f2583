"""The C library's allocator, told to keep what a program gives back.

XLA allocates a program's intermediate results anew for each call. On a CPU, the C library takes an array of that size
from the system and returns it at the end of the call, so that every call touches new pages: for a Transformer with
324 MB of them, 88,000 page faults and a quarter of the time of a step (benchmarks/LOG.md). Memory that is kept costs
nothing, since the next call needs as much.
"""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # parameters of mallopt(3)
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Sets it for this process, where the C library is glibc; False elsewhere, or where the user has tuned it.

    Has to run before the threads start that will allocate: one arena serves them all, because those of threads can't
    hold large arrays.
    """
    if not sys.platform.startswith("linux"):
        return False
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    wanted = ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER))
    return min(mallopt(name, value) for name, value in wanted) == 1
