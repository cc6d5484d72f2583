"""How long a user waits: process start to the first step, and to the end of ten epochs, of W1."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from bench.catalog import OURS, Side, Workload
from bench.environments import missing
from bench.measure import Say
from bench.ratios import Spread
from bench.remote import Failed, Remote, variables
from bench.report import table

COLD, WARM = "bigtrain, empty compilation cache", "bigtrain, compilation cache from a run before"


def measure(
    workload: Workload, sides: Sequence[Side], pythons: dict[str, str | None], data: Path, logs: Path, *,
    repeats: int, epochs: int, say: Say,
) -> tuple[str, list[str]]:  # fmt: skip
    """A table of both times for each side, and the sides that failed.

    Starts are taken in turn, after one of each that doesn't count.
    """
    with tempfile.TemporaryDirectory() as cache:
        tries: dict[str, Callable[[int | None], float]] = {
            COLD: lambda epochs: _fresh(workload, data, epochs),
            WARM: lambda epochs: ours(workload, data, Path(cache), epochs),
        }
        for side in sides:
            if side.name != OURS.name:
                tries[side.title] = _peer(side, pythons.get(side.environment), workload, data, logs)
        rows = {name: {"first": [], "all": []} for name in tries}  # type: dict[str, dict[str, list[float]]]
        failed: dict[str, str] = {}
        for attempt in range(repeats + 1):  # the first fills the file cache, and writes bytecode
            for name in [name for name in tries if name not in failed]:
                try:
                    taken = {"first": tries[name](None)}
                    if attempt:
                        taken["all"] = tries[name](epochs)
                        rows[name] = {kind: [*rows[name][kind], taken[kind]] for kind in taken}
                except Failed as error:
                    failed[name] = str(error)
                    say(f"{name}: {error}")
                    continue
                shown = ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in taken.items())
                say(f"{name}: {shown}{'' if attempt else ' (not counted)'}")
    head = [f"{workload.name}: {workload.title}", "start → first step, s", f"start → end of {epochs} epochs, s"]
    return table(head, [[name, *_cells(rows[name], failed.get(name))] for name in tries]), list(failed)


def _cells(times: dict[str, list[float]], failure: str | None) -> list[str]:
    if failure is not None:
        return [f"failed: {failure}", ""]
    spreads = [Spread.of(times[kind]) for kind in ("first", "all")]
    return [f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})" for spread in spreads]


def _fresh(workload: Workload, data: Path, epochs: int | None) -> float:
    with tempfile.TemporaryDirectory() as cache:
        return ours(workload, data, Path(cache), epochs)


def ours(workload: Workload, data: Path, cache: Path, epochs: int | None) -> float:
    """`bigtrain fit`: seconds until its first log line (with `log_every=1`), or until the process ends.

    Raises:
        Failed: it ended with an error, or without that line.
    """
    length = ["steps=64", "log_every=1"] if epochs is None else [f"steps={epochs}epochs"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        words = ["data=npz", f"data.path={data}", *workload.overrides, f"batch_size={workload.batch}", *length]
        command = [sys.executable, "-m", "bigtrain", "fit", *words, f"run_dir={folder}"]
        environment = {**variables(OURS), "BIGTRAIN_CACHE": str(cache)}
        output = subprocess.DEVNULL
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        first = _first_line(folder / "metrics.jsonl", process, begun)
        status = process.wait()
        ended = time.perf_counter() - begun
    if status or (epochs is None and first is None):
        raise Failed(f"bigtrain fit ended with status {status}")
    return ended if epochs is not None else first or ended


def _first_line(path: Path, process: subprocess.Popen[bytes], begun: float) -> float | None:
    """Seconds until a file has a line; None if the process ends before."""
    while process.poll() is None:
        if path.exists() and path.stat().st_size:
            return time.perf_counter() - begun
        time.sleep(0.005)
    return None


def _peer(side: Side, python: str | None, workload: Workload, data: Path, logs: Path) -> Callable[[int | None], float]:
    """A worker from its start to the answer; ending the process isn't counted."""

    def taken(epochs: int | None) -> float:
        if python is None:
            raise Failed(missing(side.environment))
        begun = time.perf_counter()
        with closing(Remote(side, python, logs / f"start-{side.name}.log")) as worker:
            worker.ask("build", module=side.module, workload=workload.name, data=str(data), options=side.options)
            if epochs is None:
                worker.ask("run", steps=1)
            else:
                worker.ask("epochs", number=epochs)
            return time.perf_counter() - begun

    return taken
