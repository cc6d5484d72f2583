"""Several processes as one run: how they start, and how they end.

JAX's runtime joins them; `bigtrain.parallel.peers` has what they tell each other. In a process by itself nothing is
started, and `current()` is a plain object whose answers are immediate.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

from bigtrain.config.errors import BigtrainError, InputError, RunError, code_of
from bigtrain.config.schema import DistributedConfig
from bigtrain.parallel import cluster
from bigtrain.parallel.peers import Alone, Peers
from bigtrain.parallel.watch import Watch, on_abort

AGREED = (0, code_of(signal.SIGINT), code_of(signal.SIGTERM))
"""Exit codes that all processes come to together: done, or interrupted with everything saved."""

TOGETHER_SECONDS = 5.0  # for processes that fail alike to find that out from each other


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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: _told_to_end(watch, number))
    return _current


def _told_to_end(watch: Watch, number: int) -> None:
    """Ends all processes on a signal to one, where the training loop doesn't listen for it."""
    if watch.index == 0:
        os.write(2, b"interrupted; what was saved is intact\n")
    watch.end_all(f"was told to end ({number})", code_of(number))


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


def told(error: BigtrainError, arguments: list[str]) -> str | None:
    """What this process says of an error that ends it; None where process 0 reports the same.

    That is known once they have come together. Before, each speaks for itself, since the rank that a cluster's
    variables give may be that of a process by itself, or of one whose host alone has something wrong.
    """
    if isinstance(_current, Alone):
        early = isinstance(error, InputError) and arguments[:1] in (["fit"], ["verify"])
        index = cluster.rank(arguments, os.environ) if early else 0
    else:
        index = _current.index
        explain(error)
        if _current.watch.told_by_leader(str(error), TOGETHER_SECONDS):
            return None
    return f"process {index}: {error}" if index else str(error)


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
