"""When the state is saved: every so many steps, and when so many minutes have passed since the last save."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bigtrain.parallel import distributed


@dataclass
class When:
    """The steps at which a save is due.

    A process by itself looks at the clock after each dispatch. Several ask process 0, whose clock counts for all, at
    the multiples of `agreed`: the run is cut there, so that all of them are at the same step.

    Args:
        every: a save at the multiples of this.
        keep_every: and at the multiples of this.
        minutes: and when so many have passed since the last.
        agreed: where several processes look at the clock.
        last: the run's last step, at which it is saved anyway.
        apart: a multiple of `every` counts only when so many seconds have passed since the last save, for a process by
            itself.
        now: seconds, of a clock that only goes forward.
    """

    every: int
    keep_every: int | None = None
    minutes: float | None = None
    agreed: int = 1
    last: int | None = None
    apart: float = 0.0
    now: Callable[[], float] = time.monotonic
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self.saved()

    def saved(self) -> None:
        """A save has begun."""
        self._since = self.now()

    def after(self, step: int) -> int:
        """The first step after `step` at which something is due, be it a look at the clock."""
        several = self.minutes is not None and distributed.current().count > 1
        periods = [self.every, self.keep_every, self.agreed if several else None]
        return min((step // period + 1) * period for period in periods if period)

    def due(self, step: int) -> bool:
        """Whether a save is due at a step that `after` has named, or the run's last."""
        if step == self.last or (self.keep_every and step % self.keep_every == 0):
            return True
        if step % self.every == 0 and not self.recent():
            return True
        several = distributed.current().count > 1
        return self.minutes is not None and several and distributed.current().shared("late", self.late)

    def recent(self) -> bool:
        """Whether the last save was less than `apart` ago; never of several processes, which would have to agree."""
        return distributed.current().count == 1 and self.now() - self._since < self.apart

    def passed(self) -> bool:
        """Whether the time is over, for a process by itself."""
        return distributed.current().count == 1 and self.late()

    def late(self) -> bool:
        """Whether the time is over, by the clock of this process."""
        return self.minutes is not None and self.now() - self._since >= 60 * self.minutes
