"""Signals: the first asks the run to save and end, the second ends it at once.

One to any of several processes ends them all, each after the same step.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bigtrain.config.errors import code_of
from bigtrain.parallel import distributed
from bigtrain.parallel.agreement import Agreement, Gated
from bigtrain.parallel.watch import LISTENING

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""SIGUSR1 is what Slurm is usually told to send some time before a job's limit; it is answered as SIGTERM is."""


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
            os._exit(code_of(number))
        self.received = number

    def gated(self, placement: Any) -> Any:
        """A placement that gives out only what the run will still do; a process by itself decides that at each step."""
        return placement


class CommonRequests(Requests):
    """The same for one of several processes: the signal counts once all have come to the step that they agreed on."""

    def __init__(self, agreement: Agreement) -> None:
        super().__init__()
        self.agreement = agreement

    def __call__(self) -> int | None:
        """The number of the signal, or None."""
        return self.agreement.reached()

    def handle(self, number: int, frame: Any) -> None:
        """The signal handler."""
        super().handle(number, frame)
        self.agreement.ask(number)

    def gated(self, placement: Any) -> Any:
        """A placement whose feeds are held back while the processes agree on where to stop."""
        return Gated(placement, self.agreement.admit)


def listener_from(step: int) -> Requests:
    """What listens for signals in a run that trains from a step on."""
    peers = distributed.current()
    if isinstance(peers, distributed.Alone):
        return Requests()
    return CommonRequests(Agreement(peers.client, peers.index, peers.count, step))


@contextmanager
def requests(step: int = 0) -> Generator[Requests]:
    """Listens for signals while the block runs; outside the main thread, where Python allows no handler, to none.

    Args:
        step: the step at which the run begins.
    """
    listener = listener_from(step)
    if threading.current_thread() is not threading.main_thread():
        yield listener
        return
    before = {number: signal.signal(number, listener.handle) for number in SIGNALS}
    if LISTENING in os.environ:
        with suppress(OSError):  # the launcher then has less patience, and nothing else changes
            Path(os.environ[LISTENING]).touch()
    try:
        yield listener
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
