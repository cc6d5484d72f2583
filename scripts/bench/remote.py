"""The benchmark's end of a worker: starts it, asks, and gives up on it when it fails."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.catalog import Side

SCRIPTS = Path(__file__).resolve().parents[1]
MODULE = ("-m", "bench.worker")


class Failed(Exception):
    """A worker ended, took too long, or answered with an error; the text says which."""


def variables(side: Side) -> dict[str, str]:
    """The environment of a worker: this repository's code can be imported, and bytecode is kept as for any user."""
    paths = [str(SCRIPTS), str(SCRIPTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **own, **side.variables}


class Remote:
    """A worker process; answers are read by a thread, so that waiting for one can end."""

    def __init__(self, side: Side, python: str, log: Path, *, arguments: Sequence[str] = MODULE) -> None:
        self.side, self.log = side, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as errors:
            try:
                self.process = subprocess.Popen(
                    [python, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                    env=variables(side), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise Failed(f"{python}: {error.strerror}") from error
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for line in answers:
                self._lines.put(line)
        self._lines.put("")  # the end

    def ask(self, do: str, *, timeout: float = 900.0, **arguments: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            Failed: there is none, or it is an error.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise Failed(f"{do}: no answer in {timeout:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            raise Failed(f"{do}: the worker ended with status {self.process.wait()}; see {self.log}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(f"{do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(OSError):  # it is gone already
                self.process.stdin.close()
        try:
            self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(timeout=1)
