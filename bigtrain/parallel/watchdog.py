"""Ends a run that hangs: a step, a data worker, a disk or another process that never answers.

Whatever the run does, it gives a sign now and then (`beat`): the clock does when it turns from one part of the work to
the next, at least twice a dispatch; evaluation does with every chunk. A thread looks whether signs come. It counts only
time in which it ran itself, so a process that was stopped or a computer that slept isn't taken for one that hangs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

from bigtrain.parallel import distributed
from bigtrain.parallel.pulse import PULSE
from bigtrain.parallel.watch import say

LOOKS = 20  # in the time that is allowed


class Watchdog:
    """The thread that looks.

    Args:
        seconds: without a sign, after which `hung` is called.
        hung: what to do then; it is called once.
    """

    def __init__(self, seconds: float, hung: Callable[[], None]) -> None:
        self.seconds, self.hung = seconds, hung
        self._closed = threading.Event()

    def begin(self) -> None:
        """Starts to look."""
        threading.Thread(target=self._look, name="bigtrain-watchdog", daemon=True).start()

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()

    def _look(self) -> None:
        pause = min(self.seconds / LOOKS, 5.0)
        silent, seen, before = 0.0, PULSE.beats, time.monotonic()
        while not self._closed.wait(pause):
            now = time.monotonic()
            passed, before = min(now - before, 2 * pause), now  # more has passed where this process was stopped
            silent = silent + passed if PULSE.beats == seen else 0.0
            seen = PULSE.beats
            if silent >= self.seconds:
                self.hung()
                return


@contextlib.contextmanager
def watched(seconds: float | None, doing: Callable[[], str], folder: Path) -> Generator[None]:
    """Ends this process, and the others of its run, when nothing is heard of it for so long while the block runs.

    Args:
        seconds: None waits forever.
        doing: what the run is doing, for the message.
        folder: of the run, where the stacks of all threads are written.
    """
    if seconds is None:
        yield
        return
    watchdog = Watchdog(seconds, lambda: end(f"no progress for {seconds:,g} s while {doing()}", folder))
    watchdog.begin()
    try:
        yield
    finally:
        watchdog.close()


def end(problem: str, folder: Path) -> None:
    """Writes down what every thread is doing, says why, and ends this process with exit code 1."""
    peers = distributed.current()
    path = folder / (f"stacks-{peers.index}.txt" if peers.count > 1 else "stacks.txt")
    where = f"{path} says what every thread was doing"
    try:
        with open(path, "w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file, all_threads=True)
    except OSError:  # perhaps it is the disk that hangs
        where = "what every thread was doing stands above"
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
    text = f"{problem}; the run is ended, and what was saved is intact\n  {where}; to wait longer: watchdog=SECONDS"
    if isinstance(peers, distributed.Alone):
        say(text)
        os._exit(1)
    say(f"process {peers.index}: {text}")
    peers.watch.end_all(f"hung: {problem}", 1)
