"""What is around the jobs of a sweep: how they are judged, who is told, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bigtrain.data.spec import Dataset
from bigtrain.sweep.job import Judge
from bigtrain.sweep.member import Member, Settings, members
from bigtrain.train.interrupt import Requests


@dataclass
class Around:
    """Given to bigtrain's own launchers by the sweep that uses them.

    Args:
        settings: what all jobs share.
        say: is told of what a person may want to know.
        listener: says when the sweep is to save and end.
        until: the moment, of the monotonic clock, after which no trial starts; None without one.
        known: jobs that are composed and checked already.
        datasets: what is loaded already, by `bigtrain.sweep.groups.data_of`.
    """

    settings: Settings = field(default_factory=lambda: Settings(Judge(())))
    say: Callable[[str], None] = lambda text: None
    listener: Requests = field(default_factory=Requests)
    until: float | None = None
    known: dict[tuple[str, ...], Member] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)

    def over(self) -> bool:
        """Whether no further trial may start."""
        return self.listener() is not None or (self.until is not None and time.monotonic() >= self.until)

    def understood(self, jobs: Sequence[tuple[str, ...]]) -> list[Member]:
        """The jobs, composed and checked; remembered until they are launched. Raises `ConfigError`."""
        missing = [job for job in jobs if job not in self.known]
        if missing:
            self.known |= {member.overrides: member for member in members(missing, self.settings)}
        return [self.known[job] for job in jobs]

    def members(self, jobs: Sequence[tuple[str, ...]]) -> list[Member]:
        """The jobs that are launched now, understood."""
        self.understood(jobs)
        return [self.known.pop(job) for job in jobs]
