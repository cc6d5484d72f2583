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

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt(3)
NEVER = -1


def settle() -> bool:
    """Gives back what the compiler has freed, and keeps what is freed from now on: for when a run is compiled.

    False, and nothing is done, where the C library isn't glibc or the user has tuned it.

    The arenas of threads hold up to 64 MB; what is larger still comes from the system (`Pace` spreads its cost over
    several steps). One arena for all threads would hold it, but then they wait for each other.
    """
    if not sys.platform.startswith("linux"):
        return False
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        trim, mallopt = library.malloc_trim, library.mallopt
    except (OSError, AttributeError):  # another C library
        return False
    trim(0)  # some 50 ms
    wanted = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER))
    return min(mallopt(name, value) for name, value in wanted) == 1
