"""One job of a sweep as a launcher of Hydra calls it, in this process, in another or on another machine."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.config.multirun import overrides_of_job
from bigtrain.sweep.job import Outcome, typed
from bigtrain.sweep.member import Request, Settings, run
from bigtrain.sweep.under_way import under_way
from bigtrain.train import interrupt

if TYPE_CHECKING:
    from bigtrain.sweep.conduct import Conductor

LOOK_SECONDS = 1.0  # between two looks for the stop file, which may be on a shared disk


@dataclass(frozen=True)
class Job:
    """What a launcher of Hydra calls for each job, in whichever process; it can be pickled.

    Such a launcher is given all jobs at once and asks nobody before it starts the next, so each job asks for itself.

    Args:
        settings: what all jobs share.
        until: no job starts after this moment, in seconds since the epoch: clocks of other machines know no other.
        stop: a file that is there once the sweep has been told to save and end.
    """

    settings: Settings
    until: float | None = None
    stop: str | None = None

    @classmethod
    def of(cls, conductor: Conductor) -> Job:
        """The jobs of a sweep."""
        around = conductor.around
        until = None if around.until is None else time.time() + around.until - time.monotonic()
        return cls(around.settings, until, str(conductor.ledger.stop.absolute()))

    def __call__(self, config: Any) -> dict[str, Any]:
        """Runs the job that Hydra has composed; its overrides say all. One that is not to start any more waits."""
        overrides = overrides_of_job()
        with self._listening() as listener:
            if listener() is not None or (self.until is not None and time.time() >= self.until):
                return dataclasses.asdict(Outcome("waiting", stop_at=typed(overrides, "stop_at")))
            return dataclasses.asdict(run(overrides, self.settings, listener))

    @contextmanager
    def _listening(self) -> Iterator[interrupt.Requests]:
        """What asks the job to save and end."""
        conductor = under_way()
        if conductor is not None:  # a pool of one runs its jobs in the sweep's own process
            yield Request(conductor.around.listener)
            return
        with interrupt.requests() as own:
            yield own if self.stop is None else Told(own, Path(self.stop))


class Told(interrupt.Requests):
    """A signal to this process, or one to the sweep's, of which a file tells.

    Args:
        own: listens for signals to this process.
        stop: the file.
    """

    def __init__(self, own: interrupt.Requests, stop: Path) -> None:
        super().__init__()
        self.own, self.stop = own, stop
        self._next = 0.0

    def __call__(self) -> int | None:
        """The number of the signal, or None."""
        if self.received is None:
            self.received = self.own()
        if self.received is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOK_SECONDS
            if self.stop.exists():
                self.received = int(signal.SIGTERM)
        return self.received
