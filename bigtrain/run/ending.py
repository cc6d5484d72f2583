"""The end of a process."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """Ends this process with an exit code; where JAX was loaded, without taking Python apart.

    Python's own way out takes the interpreter away from under the threads of JAX and of the array storage, one of which
    may still be dropping a buffer: now and then that was an abort, after everything had been saved. What comes before
    that is done as Python does it: threads that have work end it (a logger's, the pools of worker processes, which wait
    for each other otherwise), then what is registered for the end.
    """
    if "jax" not in sys.modules:
        raise SystemExit(code)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is saved: who doesn't want to wait gets no traceback
        threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    os._exit(code)
