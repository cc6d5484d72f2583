"""The end of a process."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """Ends this process with an exit code; at once, where JAX was loaded.

    Python's own way out takes the interpreter away from under the threads of JAX and of the array storage, one of which
    may still be dropping a buffer: now and then that was an abort, after everything had been saved.
    """
    if "jax" not in sys.modules:
        raise SystemExit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    os._exit(code)
