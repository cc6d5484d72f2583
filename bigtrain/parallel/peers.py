"""What the processes of a run tell each other, by JAX's coordination service: small values by name, and barriers."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bigtrain.config.errors import BigtrainError, InputError, RunError
from bigtrain.parallel.watch import Watch

Value = TypeVar("Value")

FOREVER = 7 * 24 * 3600 * 1000  # milliseconds; who waits so long is ended by `Watch` when a process is lost
SLICE = 1000  # milliseconds of C++, in which Python answers no signal, before a process that waits looks up


class GivenUp(Exception):
    """What process 0 was to say is no longer wanted."""


_making = threading.local()  # the name of what this thread makes for all


@contextmanager
def _made_for_all(name: str) -> Generator[None]:
    """While process 0 makes something it asks for nothing else: the others don't, and would get another answer."""
    outer = getattr(_making, "name", None)
    if outer is not None:
        raise AssertionError(f"{name!r} is shared while {outer!r} is made, which happens in process 0 alone")
    _making.name = name
    try:
        yield
    finally:
        _making.name = None


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Alone:
    """A process by itself."""

    index: int = 0
    count: int = 1
    leader: bool = True

    def shared(self, name: str, make: Callable[[], Value], given_up: Callable[[], bool] = _never) -> Value:
        """What process 0 makes of it, for all."""
        with _made_for_all(name):
            return make()

    def gathered(self, name: str, own: Value) -> list[Value]:
        """What each process has of it, in their order, for all."""
        return [own]

    def barrier(self, name: str) -> None:
        """Waits until every process is here."""

    def remember(self, rest: Callable[[], str]) -> None:
        """What to say of the run's state if a process is lost."""

    def hosts(self) -> tuple[int, ...]:
        """For each process the first one of its host, which stands for the host; empty where there is one process."""
        return ()


@dataclass
class Peers:
    """One of several processes; see `Alone` for what each method is for."""

    index: int
    count: int
    source: str
    client: Any  # of JAX's coordination service
    watch: Watch
    _said: Counter[str] = field(default_factory=Counter)

    @property
    def leader(self) -> bool:
        """Whether this is process 0, which alone writes and logs."""
        return self.index == 0

    def shared(self, name: str, make: Callable[[], Value], given_up: Callable[[], bool] = _never) -> Value:
        """What process 0 makes of it, for all; a `BigtrainError` there is raised everywhere.

        Args:
            name: what it is; the n-th call with a name is answered by process 0's n-th.
            make: called in process 0 alone, and may share nothing itself; its value is sent as JSON.
            given_up: asked now and then while another process waits for it.

        Raises:
            GivenUp: when `given_up` says so.
        """
        self._said[name] += 1
        key = f"bigtrain/shared/{name}/{self._said[name]}"
        if not self.leader:
            return _received(json.loads(self._waited_for(key, given_up)))
        try:
            with _made_for_all(name):
                message = {"value": make()}
        except BigtrainError as error:
            self.client.key_value_set(key, json.dumps({"error": str(error), "code": error.exit_code}))
            raise
        self.client.key_value_set(key, json.dumps(message))
        return message["value"]

    def gathered(self, name: str, own: Value) -> list[Value]:
        """What each process has of it, in their order, for all; sent as JSON."""
        self._said[f"gathered/{name}"] += 1
        key = f"bigtrain/gathered/{name}/{self._said[f'gathered/{name}']}"
        if not self.leader:
            self.client.key_value_set(f"{key}/{self.index}", json.dumps(own))
        others = (f"{key}/{index}" for index in range(1, self.count))
        return self.shared(f"gathered/{name}", lambda: [own, *(json.loads(self._waited_for(k)) for k in others)])

    def _waited_for(self, key: str, given_up: Callable[[], bool] = _never) -> str:
        """A value of the coordination service, once it is there."""
        while True:
            try:
                found: str = self.client.blocking_key_value_get(key, SLICE)
                return found
            except Exception as error:  # JAX has no class for a deadline
                if "DEADLINE" not in str(error):
                    raise
            if given_up():
                raise GivenUp(key)

    def barrier(self, name: str) -> None:
        """Waits until every process is here, on the host: no device takes part."""
        assert getattr(_making, "name", None) is None, "only process 0 would come to it"
        self._said[name] += 1
        self.client.wait_at_barrier(f"bigtrain/{name}/{self._said[name]}", FOREVER)

    def remember(self, rest: Callable[[], str]) -> None:
        """What to say of the run's state if a process is lost."""
        self.watch.rest = rest

    def hosts(self) -> tuple[int, ...]:
        """For each process the first one of its host, which stands for the host."""
        names = self.watch.hosts()
        return tuple(names.index(name) for name in names)


def _received(message: Mapping[str, Any]) -> Any:
    if "error" in message:
        raise (InputError if message["code"] == InputError.exit_code else RunError)(message["error"])
    return message["value"]
