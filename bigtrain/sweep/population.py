"""Members of a sweep in one process: grouped by program, each group compiled once, several trained at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Literal

from bigtrain.config.errors import ConfigError
from bigtrain.sweep.around import Around
from bigtrain.sweep.groups import Group, Programs, Refused
from bigtrain.sweep.job import Outcome, failure
from bigtrain.sweep.member import Member, Request, finished, train, written
from bigtrain.sweep.slots import Slots
from bigtrain.sweep.strategy import Kind, Strategy, choose

Ended = tuple[Member, Outcome]


@dataclass
class Population:
    """Runs members in this process.

    Args:
        around: how they are judged, who is told, and when to stop.
        strategy: how a group runs; auto measures.
        at_once: how many members at the same time; None takes what fits.
    """

    around: Around
    strategy: Kind | Literal["auto"] = "auto"
    at_once: int | None = None
    programs: Programs = field(default_factory=Programs)
    _chosen: dict[int, Strategy] = field(default_factory=dict)

    def run(self, members: Sequence[Member]) -> Iterator[Ended]:
        """Each member with its outcome, as they end; one that never began waits."""
        todo = []
        for member in members:
            before = finished(member, self.around.settings.judge)
            if before is not None:
                yield member, written(before, member.path)
            else:
                todo.append(member)
        for group in self.programs.groups(todo):
            if isinstance(group, Refused):
                for member in group.members:
                    yield member, written(failure(group.error, member.stop_at), member.path)
                continue
            try:
                strategy = self._strategy(group)
            except ConfigError as error:
                for member in group.members:
                    yield member, written(failure(error, member.stop_at), member.path)
            else:
                yield from self._group(group, strategy)

    def _group(self, group: Group, strategy: Strategy) -> Iterator[Ended]:
        """The members of one program."""
        around = self.around
        slots = Slots(group.shared, strategy.at_once) if strategy.kind == "vmap" else None

        def one(member: Member) -> Outcome:
            if around.over():
                return Outcome("waiting", stop_at=member.stop_at)
            try:
                ready = group.ready(member)
            except Exception as error:
                return written(failure(error, member.stop_at), member.path)
            judge, listener = around.settings.judge, Request(around.listener)
            if slots is None:
                return train(member, ready, judge, listener)
            with slots.taken(ready) as own:
                return train(member, own, judge, listener)

        yield from concurrently(one, group.members, strategy.at_once)

    def _strategy(self, group: Group) -> Strategy:
        """How the group runs; decided once for a program."""
        key = id(group.shared.program)
        if key not in self._chosen:
            chosen = choose(group.shared, len(group.members), self.strategy, self.at_once)
            self._chosen[key] = chosen
            how = {"sequential": "one after the other", "threads": "as threads", "vmap": "as one program"}
            several = f", {chosen.at_once} at once" if chosen.at_once > 1 else ""
            program = f"program {self.programs.number} (compiled in {group.shared.compile_seconds:.1f} s)"
            self.around.say(f"{program}: {how[chosen.kind]}{several} ({chosen.reason})")
        return self._chosen[key]


def concurrently(one: Callable[[Member], Outcome], members: Sequence[Member], at_once: int) -> Iterator[Ended]:
    """Each member with its outcome, so many at a time; a place is taken again as soon as it is free."""
    if at_once == 1:
        for member in members:
            yield member, one(member)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="member") as pool:
        under_way: dict[Future[Outcome], Member] = {pool.submit(one, member): member for member in members}
        try:
            while under_way:
                done, _ = wait(under_way, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    yield under_way.pop(future), future.result()
        finally:
            for future in under_way:
                future.cancel()
