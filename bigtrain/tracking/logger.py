"""What every logger provides, and what stands between a run and loggers that fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from bigtrain.config.errors import RunError

ROOM = 10_000  # lines that are kept for a logger that fails


@runtime_checkable
class Logger(Protocol):
    """Receives named numbers as the run goes on; its constructor may ask for `directory` and `resumed` (a step)."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Records numbers that hold after `step` steps; names are like `train/loss` or `validation/accuracy`."""
        ...

    def close(self) -> None:
        """Writes what is still buffered."""
        ...


class Tolerant:
    """A logger that may fail (a full disk, a server that doesn't answer) while training goes on.

    What it didn't take is kept and given to it again: after one more line, then after two, four, eight …, because each
    try may take as long as the server's time limit; and once more at the end. A logger whose file is written on when a
    run is continued says so (`continues = True`), and has to have all its lines before a checkpoint is made.

    Args:
        inner: the logger; it may take several lines at once (`log_all`), all of them or none, and keep one back until
            it is told to write it (`settle`).
        name: what people call it.
        say: tells them.
        hold: lines are kept for so many seconds, to be handed over together; before a checkpoint, all of them are.
    """

    def __init__(self, inner: Logger, name: str, say: Callable[[str], None], hold: float = 0.0) -> None:
        self.inner, self.name, self.say, self.hold = inner, name, say, hold
        self._due = time.monotonic() + hold
        self._waiting: list[tuple[int, Mapping[str, float]]] = []
        self._lost = 0
        self._failures, self._rest = 0, 0  # failures in a row, and lines until it is tried again

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """See `Logger`; never raises."""
        self._waiting.append((step, dict(scalars)))
        if self.hold and time.monotonic() < self._due:
            return
        self._rest -= 1
        if self._rest > 0:
            self._drop()
            return
        error = self._handed_over()
        if error is not None:
            if not self._failures:
                self.say(
                    f"logger {self.name} failed: {_told(error)}; training goes on, and its lines are kept for later"
                )
            self._rest = 1 << min(self._failures, 10)
            self._failures += 1
            self._drop()

    def insist(self) -> None:
        """Before a checkpoint: what a logger writes into the run directory up to there must be in it, or be lost.

        A run that is continued writes the lines after its checkpoint again, and none before.

        Raises:
            RunError: such a logger still fails.
        """
        if not getattr(self.inner, "continues", False):
            return
        error = self._handed_over()
        try:
            if error is None and (settle := getattr(self.inner, "settle", None)) is not None:
                settle()
        except Exception as failed:
            error = failed
        if error is not None:
            raise RunError(f"logger {self.name}: {_told(error)}; earlier checkpoints are intact") from error

    def close(self) -> None:
        """See `Logger`; never raises, and says what was lost."""
        error = self._handed_over()
        try:
            self.inner.close()
        except Exception as failed:
            error = error or failed
        lost = self._lost + len(self._waiting)
        if error is not None or lost:
            reason = f" ({_told(error)})" if error is not None else ""
            self.say(f"logger {self.name}: {lost:,} lines were not written{reason}")

    def _handed_over(self) -> Exception | None:
        """Gives the logger what waits for it, in order; what went wrong, if anything did."""
        together: Any = getattr(self.inner, "log_all", None)
        self._due = time.monotonic() + self.hold
        while self._waiting:
            number = 1 if together is None else len(self._waiting)
            try:
                if number == 1:
                    self.inner.log(*self._waiting[0])
                else:
                    together(self._waiting)
            except Exception as error:  # of whatever library is behind it
                return error
            del self._waiting[:number]
        self._failures = 0
        return None

    def _drop(self) -> None:
        """Loses the oldest lines once there is no room for more."""
        surplus = max(0, len(self._waiting) - ROOM)
        del self._waiting[:surplus]
        self._lost += surplus


def _told(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
