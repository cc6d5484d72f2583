"""Signs of life of this process's run, for who watches over it (`bigtrain.parallel.watchdog`)."""

from __future__ import annotations


class Pulse:
    """How often the run has said that it gets on."""

    def __init__(self) -> None:
        self.beats = 0


PULSE = Pulse()


def beat() -> None:
    """The run has come further."""
    PULSE.beats += 1
