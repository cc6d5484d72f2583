"""Notices that another process is lost, or has failed, and ends this one with a message that says which.

Each process sends a sign of life every second; process 0 looks for those that stay away. JAX has heartbeats of its own,
but answers a lost process by aborting from C++, with a stack trace that names a number; it is slower here, a net below
the net. When process 0 itself is gone, so is the service through which all of this is said. Then the open request of
each process fails at once, and JAX's own abort may come first: a handler of SIGABRT has the last word.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

BEAT_SECONDS = 1.0
LINGER_SECONDS = 1.0  # that process 0 stays, so that the others hear why
GRACE_SECONDS = 6.0  # for a process to end by itself when another says that it failed: perhaps alike
DAY = 24 * 3600 * 1000  # milliseconds
LISTENING = "BIGTRAIN_LISTENING"
"""The variable in which `bigtrain launch` names the file that a process makes once it answers a signal by saving."""

LOST, FAILED, WHO, BEAT = "bigtrain/lost", "bigtrain/failed", "bigtrain/who", "bigtrain/beat"


class Watch:
    """The threads of a process that watch over the others.

    Args:
        client: of JAX's coordination service.
        index: which process this is.
        count: of how many.
        lost_after: seconds without a sign of life.
    """

    def __init__(self, client: Any, index: int, count: int, lost_after: float) -> None:
        self.client, self.index, self.count, self.lost_after = client, index, count, lost_after
        self.rest: Callable[[], str] = lambda: "nothing was saved yet"
        self.reason = ""
        self._names: dict[int, str] = {}
        self._hosts: list[str] = []
        self._closed = threading.Event()  # this process is leaving
        self._ending = threading.RLock()  # a signal may arrive while the main thread is ending
        self._launcher = os.getppid() if "BIGTRAIN_PROCESS" in os.environ else None

    def begin(self) -> None:
        """Says who this is, and starts to watch."""
        self.client.key_value_set(f"{WHO}/{self.index}", f"host {socket.gethostname()}, pid {os.getpid()}")
        on_abort(self._abort_told)
        for work in (self._beat, self._listen, *([self._look] if self.index == 0 else [])):
            threading.Thread(target=work, name="bigtrain-peers", daemon=True).start()
        self._names[0] = self.client.blocking_key_value_get(f"{WHO}/0", 60_000)  # later its service may be gone

    def name(self, process: int) -> str:
        """A process for people: which of how many, where it runs, and its number there."""
        if process not in self._names:
            with contextlib.suppress(Exception):
                self._names[process] = self.client.blocking_key_value_get(f"{WHO}/{process}", 2_000)
        known = self._names.get(process)
        return f"process {process} of {self.count}" + (f" ({known})" if known else "")

    def hosts(self) -> list[str]:
        """The host of each process; waits until each has said who it is."""
        if not self._hosts:
            said = {key.rsplit("/", 1)[1]: text for key, text in self.client.key_value_dir_get(WHO)}
            for process in range(self.count):
                text = said.get(str(process)) or self.client.blocking_key_value_get(f"{WHO}/{process}", DAY)
                self._hosts.append(text.split(", pid ")[0])
        return self._hosts

    def close(self) -> None:
        """Stops watching: the run is over."""
        self._closed.set()
        ctypes.CDLL(None).signal(signal.SIGABRT, None)

    def await_verdict(self) -> None:
        """Waits until it is clear whether a process is lost; if so, this one is ended, and the call never returns."""
        self._closed.wait(self.lost_after + 4 * BEAT_SECONDS)

    def told_by_leader(self, text: str, seconds: float) -> bool:
        """Whether process 0 reports the same error within some seconds."""
        key = "bigtrain/error"
        with contextlib.suppress(Exception):
            if self.index == 0:
                self.client.key_value_set(key, text)
                return False
            return bool(self.client.blocking_key_value_get(key, int(seconds * 1000)) == text)
        return False

    def end_all(self, reason: str, code: int) -> None:
        """Ends this process with an exit code, and the others with it."""
        with self._ending:
            self._closed.set()
            with contextlib.suppress(Exception):  # another was first
                notice = {"process": self.index, "reason": reason, "code": code}
                self.client.key_value_set(f"{FAILED}", json.dumps(notice))
            self._exit(code)

    def _exit(self, code: int) -> None:
        """Ends this process; process 0 last, since the others hear through it."""
        sys.stdout.flush()
        sys.stderr.flush()
        if self.index == 0:
            until = time.monotonic() + GRACE_SECONDS + LINGER_SECONDS
            with contextlib.suppress(Exception):
                while time.monotonic() < until and len(self.client.key_value_dir_get("bigtrain/gone")) < self.count - 1:
                    time.sleep(0.1)
        else:
            with contextlib.suppress(Exception):
                self.client.key_value_set(f"bigtrain/gone/{self.index}", "")
        os._exit(code)

    def _beat(self) -> None:
        """Sends signs of life; ends a process whose launcher is gone."""
        number = 0
        while not self._closed.wait(BEAT_SECONDS):
            number += 1
            with contextlib.suppress(Exception):  # `_listen` hears of it too
                self.client.key_value_set(f"{BEAT}/{self.index}", str(number), allow_overwrite=True)
            if self._launcher is not None and os.getppid() != self._launcher:
                self.end_all("has lost the bigtrain launch that started it", 1)

    def _look(self) -> None:
        """In process 0: looks for processes whose signs of life stay away."""
        seen = {process: ("", time.monotonic()) for process in range(1, self.count)}
        while not self._closed.wait(BEAT_SECONDS):
            try:
                beats = {key.rsplit("/", 1)[1]: value for key, value in self.client.key_value_dir_get(BEAT)}
            except Exception:  # of the service in this very process: it is on its way out
                continue
            now = time.monotonic()
            for process, (before, since) in seen.items():
                beat = beats.get(str(process), "")
                seen[process] = (before, since) if beat == before else (beat, now)
                if now - seen[process][1] > self.lost_after and not self._closed.is_set():
                    self.client.key_value_set(LOST, str(process), allow_overwrite=True)

    def _listen(self) -> None:
        """Waits for news of a lost or a failed process; the request is open all the time, and costs nothing."""
        threading.Thread(target=self._hear, args=(FAILED, self._failed), name="bigtrain-peers", daemon=True).start()
        self._hear(LOST, lambda text: self._lost(int(text), f"gave no sign of life for {self.lost_after:.0f} s"))

    def _hear(self, key: str, answer: Callable[[str], None]) -> None:
        while not self._closed.is_set():
            try:
                answer(self.client.blocking_key_value_get(key, DAY))
                return
            except Exception as error:
                if self._closed.is_set() or "DEADLINE" in str(error):
                    continue
                if self.index:
                    self._lost(0, "closed its connection")
                return

    def _failed(self, text: str) -> None:
        """Another process failed: this one may be about to say the same, and has a moment for it."""
        notice = json.loads(text)
        if notice["process"] == self.index or self._closed.wait(GRACE_SECONDS):
            return
        with self._ending:
            self._say(f"{self.name(notice['process'])} {notice['reason']}; {self.rest()}")
            self._exit(notice["code"])

    def _lost(self, process: int, how: str) -> None:
        if process == self.index or self._closed.is_set():
            return
        with self._ending:
            self._say(f"{self.name(process)} was lost: it {how}; {self.rest()}")
            if self.index == 0:
                time.sleep(LINGER_SECONDS)
            os._exit(1)

    def _abort_told(self) -> str:
        """What is said when JAX aborts this process: nearly always because the service of process 0 is gone."""
        how = "was lost, or JAX gave up for what stands above" if self.index else "was aborted for what stands above"
        return f"{self.name(0)} {how}; {self.rest()}"

    def _say(self, text: str) -> None:
        sys.stdout.flush()
        say(text)


_HANDLERS: list[Any] = []  # ctypes doesn't keep them


def say(text: str) -> None:
    """An error on stderr, whatever the state of Python's own streams is."""
    os.write(2, f"error: {text}\n".encode())


def on_abort(text: str | Callable[[], str]) -> None:
    """Has a C++ abort end with a message, and exit code 1.

    A handler of C's: Python's own run only when the main thread comes back to Python.
    """

    def answer(number: int) -> None:
        say(text if isinstance(text, str) else text())
        os._exit(1)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(answer)
    _HANDLERS.append(handler)
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.signal(int(signal.SIGABRT), ctypes.cast(handler, ctypes.c_void_p))
