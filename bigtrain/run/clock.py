"""Where the time of a command went: every second since it began is charged to exactly one part."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from bigtrain.parallel.pulse import beat

Item = TypeVar("Item")
Part = Literal["start", "compile", "data wait", "step", "evaluation", "samples", "checkpoint", "logging", "profile"]
"""`start` is all that no other part claims: imports, the config, reading the data, making or restoring the state."""


class Clock:
    """Charges the time of the main thread to the innermost part that is under way; the parts sum to the wall time."""

    def __init__(self) -> None:
        self._spent: dict[Part, float] = {}
        self._part: Part = "start"
        self._since = time.perf_counter()

    @contextmanager
    def part(self, name: Part) -> Generator[None]:
        """What happens inside is charged to `name`, but for the parts that begin in it."""
        outer = self._turn_to(name)
        try:
            yield
        finally:
            self._turn_to(outer)

    def each(self, name: Part, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; the time that each takes to come is charged to `name`."""
        iterator = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def spent(self) -> dict[Part, float]:
        """Seconds by part until now, in the order in which the parts began."""
        self._turn_to(self._part)
        return dict(self._spent)

    def recharge(self, name: Part, seconds: float) -> None:
        """Moves some of what was charged to the part under way to another."""
        self._turn_to(self._part)
        self._spent[self._part] -= seconds
        self._spent[name] = self._spent.get(name, 0.0) + seconds

    @property
    def now(self) -> Part:
        """The part that is under way."""
        return self._part

    def training(self) -> float:
        """Seconds spent on training itself until now: steps, waiting for their data, and logging them."""
        spent = self.spent()
        return sum(spent.get(name, 0.0) for name in ("step", "data wait", "logging"))

    def _turn_to(self, name: Part) -> Part:
        """Charges the time until now, and says what it was charged to."""
        beat()
        now, before = time.perf_counter(), self._part
        self._spent[before] = self._spent.get(before, 0.0) + now - self._since
        self._since, self._part = now, name
        return before
