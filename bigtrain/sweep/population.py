"""Members of a sweep in one process: grouped by program, each group compiled once, several trained at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Literal

from bigtrain.config.errors import BigtrainError, ConfigError
from bigtrain.sweep.around import Around
from bigtrain.sweep.groups import Group, Programs, Refused
from bigtrain.sweep.job import Outcome
from bigtrain.sweep.member import Member, Request, failed, finished, train, written
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
    _chosen: dict[tuple[int, bool], Strategy] = field(default_factory=dict)
    _numbers: dict[int, int] = field(default_factory=dict)

    def run(self, members: Sequence[Member]) -> Iterator[Ended]:
        """Each member with its outcome, as they end; one that never began waits."""
        left = list(members)
        for member, outcome in self._ended(members):
            left.remove(member)
            yield member, outcome
        for member in left:
            yield member, Outcome("waiting", stop_at=member.stop_at)

    def _ended(self, members: Sequence[Member]) -> Iterator[Ended]:
        todo = []
        for member in members:
            try:
                before = finished(member, self.around.settings.judge)
            except Exception as error:  # what is in its directory can't be read
                yield member, failed(error, member.path, member.stop_at)
                continue
            if before is None:
                todo.append(member)
            else:
                yield member, written(before, member.path)
        for group in self.programs.groups(todo, self.around.over):
            if isinstance(group, Refused):
                yield group.member, failed(group.error, group.member.path, group.member.stop_at)
                continue
            try:
                strategy = self._strategy(group)
            except ConfigError:  # the launcher's: its own option is wrong, not the trials
                raise
            except BigtrainError as error:
                for member in group.members:
                    yield member, failed(error, member.path, member.stop_at)
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
                return failed(error, member.path, member.stop_at)
            judge, listener = around.settings.judge, Request(around.listener)
            if slots is None:
                return train(member, ready, judge, listener)
            with slots.taken(ready) as own:
                return train(member, own, judge, listener)

        yield from concurrently(one, group.members, strategy.at_once)

    def _strategy(self, group: Group) -> Strategy:
        """How the group runs; decided once for a program, and anew where a member was alone before."""
        key = (id(group.shared.program), len(group.members) == 1)
        if key not in self._chosen:
            chosen = choose(group.shared, len(group.members), self.strategy, self.at_once)
            self._chosen[key] = chosen
            how = {"sequential": "one after the other", "threads": "as threads", "vmap": "as one program"}
            several = f", {chosen.at_once} at once" if chosen.at_once > 1 else ""
            number = self._numbers.setdefault(id(group.shared.program), len(self._numbers) + 1)
            program = f"program {number} (compiled in {group.shared.compile_seconds:.1f} s)"
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
