"""Several processes as one run: how they start, what they tell each other, and how they end.

JAX's runtime joins them. What is said here goes through its coordination service, which process 0 keeps: small values
by name, and barriers. In a process by itself nothing is started, and `current()` is a plain object whose answers are
immediate.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bigtrain.config.errors import BigtrainError, ConfigError, InputError, RunError
from bigtrain.config.schema import DistributedConfig
from bigtrain.parallel import cluster
from bigtrain.parallel.watch import Watch, on_abort

Value = TypeVar("Value")

FOREVER = 7 * 24 * 3600 * 1000  # milliseconds; who waits so long is ended by `Watch` when a process is lost
AGREED = (0, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGUSR1)
"""Exit codes that all processes come to together: done, or interrupted with everything saved."""

TOGETHER_SECONDS = 5.0  # for processes that fail alike to find that out from each other


@dataclass(frozen=True)
class Alone:
    """A process by itself."""

    index: int = 0
    count: int = 1
    leader: bool = True

    def shared(self, name: str, make: Callable[[], Value]) -> Value:
        """What process 0 makes of it, for all."""
        return make()

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

    def shared(self, name: str, make: Callable[[], Value]) -> Value:
        """What process 0 makes of it, for all; a `BigtrainError` there is raised everywhere.

        Args:
            name: what it is; the n-th call with a name is answered by process 0's n-th.
            make: called in process 0 alone; its value is sent as JSON.
        """
        self._said[name] += 1
        key = f"bigtrain/shared/{name}/{self._said[name]}"
        if not self.leader:
            return _received(json.loads(self.client.blocking_key_value_get(key, FOREVER)))
        try:
            message = {"value": make()}
        except BigtrainError as error:
            self.client.key_value_set(key, json.dumps({"error": str(error), "code": error.exit_code}))
            raise
        self.client.key_value_set(key, json.dumps(message))
        return message["value"]

    def barrier(self, name: str) -> None:
        """Waits until every process is here, on the host: no device takes part."""
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


_current: Alone | Peers = Alone()


def current() -> Alone | Peers:
    """This process among its peers."""
    return _current


def start(cfg: DistributedConfig) -> Alone | Peers:
    """Joins the other processes, if there are any; to be called before JAX is first asked for its devices.

    Raises:
        ConfigError: when the config or the cluster's environment doesn't say enough.
        RunError: when the others don't come.
    """
    global _current
    if isinstance(_current, Peers):
        return _current
    found = cluster.coordinates(cfg, os.environ)
    if found is None:
        return _current
    assert found.index is not None
    assert found.count is not None
    client = _joined(found, cfg)
    watch = Watch(client, found.index, found.count, cfg.lost_after)
    _current = Peers(found.index, found.count, f"{found.source}; process 0 at {found.coordinator}", client, watch)
    watch.begin()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: watch.end_all(f"was told to end ({number})", 128 + number))
    return _current


def _joined(found: cluster.Coordinates, cfg: DistributedConfig) -> Any:
    """Starts JAX's distributed runtime and returns its client."""
    import jax
    from jax._src import distributed  # the client has no public name; Orbax takes it from here too

    jax.config.update("jax_enable_preemption_service", False)  # bigtrain listens for signals itself
    _keep_stdout()
    who = f"process {found.index} of {found.count} ({socket.gethostname()})"
    what = f"{who}: the processes did not come together at {found.coordinator} within {cfg.start_timeout} s"
    hint = "each has to start in that time (distributed.start_timeout), and to reach that address"
    on_abort(f"{what}\n  {hint}")  # which is how JAX ends a process that waits for the others in vain
    try:
        jax.distributed.initialize(
            found.coordinator,
            found.count,
            found.index,
            cluster.share_of_devices(found.local, os.environ),
            cluster_detection_method="deactivate",
            initialization_timeout=cfg.start_timeout,
            heartbeat_timeout_seconds=cfg.lost_after + 20,  # `Watch` is to find out first, and says who
            shutdown_timeout_seconds=10,
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{what}: {reason}\n  {hint}") from error
    return distributed.global_state.client


def _keep_stdout() -> None:
    """Results alone stand on stdout: gloo, from C++, would write there to whom it is connected."""
    sys.stdout.flush()
    if sys.stdout is sys.__stdout__ and sys.stdout.fileno() == 1:
        own = os.dup(1)
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        sys.stdout = open(own, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)  # noqa: SIM115  kept open


def silent(error: BigtrainError, arguments: list[str]) -> bool:
    """Whether another process reports this error: process 0, where all of them find the same.

    Before the processes have come together, what is wrong with the config is wrong in all of them, but for what it says
    of the processes themselves.
    """
    if isinstance(_current, Alone):
        of_this = isinstance(error, ConfigError) and error.path.startswith("distributed.")
        alike = isinstance(error, InputError) and not of_this and arguments[:1] == ["fit"]
        return alike and cluster.launched(os.environ) is None and cluster.rank(arguments, os.environ) > 0
    watch = _current.watch
    explain(error)
    return watch.told_by_leader(str(error), TOGETHER_SECONDS)


def _caused_by_jax(error: BaseException | None) -> bool:
    """Whether an error comes from a computation or a barrier that the processes share."""
    while error is not None:
        if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"):
            return True
        error = error.__cause__ or error.__context__
    return False


def explain(error: BaseException) -> None:
    """Lets `Watch` find out whether a failed computation means that a process is lost; then it ends this one."""
    if isinstance(_current, Alone):
        return
    first = (str(error).strip().splitlines() or [""])[0][:300]
    _current.watch.reason = f"failed: {type(error).__name__}: {first}"
    if _caused_by_jax(error) and "RESOURCE_EXHAUSTED" not in str(error):
        _current.watch.await_verdict()


def leave(code: int) -> None:
    """Ends the part of this process in the run; to be called last, with the exit code.

    Where all have come to their end together, they part in good order. Else this process ends at once: JAX would wait
    for the others, which may be waiting for it. Of several processes none comes back from here: Python's own way out
    ends threads in the middle of JAX's C++ code, where requests stay open, and that is an abort.
    """
    global _current
    peers, _current = _current, Alone()
    if isinstance(peers, Alone):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if code not in AGREED:
        peers.watch.end_all(peers.watch.reason or f"ended with exit code {code}", code)
    import jax

    try:
        peers.client.wait_at_barrier("bigtrain/done", 120_000)
        peers.watch.close()
        jax.distributed.shutdown()
    except Exception:
        pass  # its work is done and saved; whoever else is in trouble says so itself
    os._exit(code)
