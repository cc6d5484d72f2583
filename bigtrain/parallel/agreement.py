"""Where several processes stop when one of them is asked to.

They run in step, but not at the same moment, and none may launch a computation that another has decided not to take
part in. When a signal reaches one, it says so; each process then holds back what it would launch next, and says how far
it has come. All go on to the step that the furthest has launched, make one dispatch more, and stop. The dispatches are
the same in all of them, so it is the same one. As long as nobody asks, nothing is sent and nobody waits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bigtrain.parallel.peers import FOREVER

ASKED, LAUNCHED, FROM = "bigtrain/stop/asked", "bigtrain/stop/launched", "bigtrain/stop/from"


class Agreement:
    """One process's side of it.

    Args:
        client: of JAX's coordination service.
        index: which process this is.
        count: of how many.
        start: the step that training begins at.
    """

    def __init__(self, client: Any, index: int, count: int, start: int) -> None:
        self.client, self.index, self.count = client, index, count
        self._launched = start
        self._held = False
        self._last: int | None = None  # the step after which all stop, once it is known
        self._from: int | None = None
        self._number: int | None = None  # the signal
        self._changed = threading.Condition()
        self._own = threading.Event()
        self._own_number = 0
        for work in (self._tell, self._hear):
            threading.Thread(target=work, name="bigtrain-stop", daemon=True).start()

    def ask(self, number: int) -> None:
        """This process got a signal; may be called in its handler."""
        self._own_number = number
        self._own.set()

    def admit(self, step: int, steps: int) -> None:
        """Before `steps` steps from `step` on are launched: waits while it is not clear whether all will do them."""
        with self._changed:
            while self._held and self._from is None:
                self._changed.wait()
            if self._from is not None and self._last is None and step >= self._from:
                self._last = step + steps
            self._launched = step + steps

    def reached(self) -> int | None:
        """The signal, once what was launched last is the last that all do."""
        with self._changed:
            return self._number if self._last is not None and self._launched >= self._last else None

    def _tell(self) -> None:
        self._own.wait()
        with contextlib.suppress(Exception):  # another was first, or the run is over
            self.client.key_value_set(ASKED, str(self._own_number))

    def _hear(self) -> None:
        """Until somebody asks, one open request."""
        with contextlib.suppress(Exception):  # the run is over, or a process is lost: `Watch` says so
            number = int(self.client.blocking_key_value_get(ASKED, FOREVER))
            with self._changed:
                self._held = True
                launched = self._launched
            self.client.key_value_set(f"{LAUNCHED}/{self.index}", str(launched))
            if self.index == 0:
                ours = [self.client.blocking_key_value_get(f"{LAUNCHED}/{k}", FOREVER) for k in range(self.count)]
                self.client.key_value_set(FROM, str(max(map(int, ours))))
            first = int(self.client.blocking_key_value_get(FROM, FOREVER))
            with self._changed:
                self._from, self._number = first, number
                self._changed.notify_all()


@dataclass(frozen=True)
class Gated:
    """A placement whose feeds are given out only as far as all processes will go."""

    inner: Any
    admit: Callable[[int, int], None]

    @property
    def capacity(self) -> int:
        """Of the placement inside."""
        capacity: int = self.inner.capacity
        return capacity

    def abstract(self) -> Any:
        """Of the placement inside."""
        return self.inner.abstract()

    def feeds(self, dispatches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Those of the placement inside, in the thread of the caller."""
        for dispatch, feed in self.inner.feeds(dispatches):
            self.admit(dispatch.step, dispatch.number)
            yield dispatch, feed
