"""Signals: the first asks the run to save and end, the second ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Requests:
    """The signal that asked the run to end, if one came."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> int | None:
        """The number of the signal, or None."""
        return self.received

    def handle(self, number: int, frame: Any) -> None:
        """The signal handler."""
        if self.received is not None:
            os._exit(128 + number)
        self.received = number


@contextmanager
def requests() -> Generator[Requests]:
    """Listens for signals while the block runs; outside the main thread, where Python allows no handler, to none."""
    listener = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield listener
        return
    before = {number: signal.signal(number, listener.handle) for number in SIGNALS}
    try:
        yield listener
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
