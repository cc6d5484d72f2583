"""Work ahead of who uses its results."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")

PATIENCE = 10.0  # seconds that a thread has to let go of what it reads from


_producer = threading.local()


def unwanted() -> bool:
    """Whether the thread that asks produces items that nobody takes any more: what it waits for, it may give up."""
    stopped: threading.Event | None = getattr(_producer, "stopped", None)
    return stopped is not None and stopped.is_set()


def ahead(items: Iterator[Item], room: int) -> Iterator[Item]:
    """The same items, produced by a thread up to `room` items ahead; an error is raised where its item would come."""
    waiting: queue.Queue[tuple[bool, Any]] = queue.Queue(room)
    stopped = threading.Event()

    def offer(entry: tuple[bool, Any]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        _producer.stopped = stopped
        try:
            for item in items:
                if not offer((True, item)):
                    return
            offer((False, None))
        except BaseException as error:  # handed to the consumer, whatever it is
            offer((False, error))
        finally:
            close = getattr(items, "close", None)  # a generator: what it holds is let go of here, not at some time
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="bigtrain-data", daemon=True)
    thread.start()
    try:
        while True:
            more, value = waiting.get()
            if more:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        stopped.set()
        thread.join(PATIENCE)  # worker processes are ended by it; at the end of this process it would be too late
