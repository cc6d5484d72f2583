"""`bigtrain launch`: several processes of one run on this host."""

from __future__ import annotations

import codecs
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import bigtrain
from bigtrain.config.compose import quoted
from bigtrain.config.errors import ConfigError, InputError, RunError, code_of
from bigtrain.config.overrides import key_of
from bigtrain.parallel import cluster, watch
from bigtrain.run.directory import RunDirectory

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
AGREED = tuple(map(code_of, FORWARDED))
"""Exit codes of processes that were interrupted, and have saved together."""

PACKAGE = Path(bigtrain.__file__).parents[1]
POLL_SECONDS = 0.05
GRACE_SECONDS = watch.GRACE_SECONDS + watch.LINGER_SECONDS + 3.0
"""For the others to end by themselves after one has failed: they wait too, and then say which."""

LOST_SECONDS = 1.0  # the same after one was killed: they can't go on without it, and needn't find out who it was
SAVING_SECONDS = 120.0  # the same after an interrupt of a run that trains: all of them save
QUIT_SECONDS = 3.0  # the same before that: there is nothing to save
REPEAT_SECONDS = 0.5  # a signal so soon after another is the same one: `timeout` and some shells send it twice
KILL_SECONDS = 3.0  # between SIGTERM and SIGKILL
TAIL = 12  # lines of the log of a process that failed


@dataclass
class Worker:
    """One of the processes."""

    rank: int
    process: subprocess.Popen[bytes]
    log: Path
    readers: list[threading.Thread] = field(default_factory=list)
    files: list[IO[bytes]] = field(default_factory=list)  # its log, and the streams that are copied there

    def code(self) -> int | None:
        """Its exit code as a shell has it; None while it runs."""
        found = self.process.poll()
        return found if found is None or found >= 0 else 128 - found


def run(
    verb: str, overrides: Sequence[str], options: Sequence[str], *, number: int, devices: int | None, logs: Path | None,
    config_dir: Path | None, trust: Sequence[str],
) -> int:  # fmt: skip
    """Starts `bigtrain fit` so many times, and returns the exit code of the first process that fails, or 0.

    Args:
        verb: `fit`; for `verify`, see `bigtrain.cli.launch_verify`.
        overrides: for each process.
        options: of fit, for each process.
        number: how many.
        devices: simulated devices of each process; None leaves it to the config.
        logs: the folder of the logs; None is `logs` in the run directory.
        config_dir: as of fit.
        trust: as of fit.
    """
    if verb != "fit":
        hint = f"bigtrain launch -n {number} fit {verb} …" if "=" in verb else "bigtrain launch -n 4 fit …"
        raise ConfigError("launch", f"can't start {verb!r}", allowed=("fit", "verify"), hint=hint)
    given = [*overrides, *([f"mesh.simulate={devices}"] if devices is not None else [])]
    looks = "--cfg" in options or "--dry-run" in options  # and writes nothing
    path = _run_dir(given, config_dir, trust, new=not looks)
    folder = logs or (None if looks else path / "logs")
    if not looks:
        given = [text for text in given if key_of(text) != "run_dir"] + [quoted("run_dir", str(path))]
    fresh = folder is not None and not folder.exists()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bigtrain-") as marks, Job(number, path, Path(marks)).forwarding() as job:
        job.start([sys.executable, "-P", "-m", "bigtrain", "fit", *given, *options], folder)
        code = job.wait()
    if code == InputError.exit_code and fresh and folder is not None and not RunDirectory.exists(path):
        shutil.rmtree(folder)  # nothing was started, so nothing is left
        with contextlib.suppress(OSError):
            path.rmdir()
    return code


def _run_dir(overrides: Sequence[str], config_dir: Path | None, trust: Sequence[str], *, new: bool) -> Path:
    """The run directory, after the check that every process would make: a mistake is told before any is started."""
    from bigtrain.cli.fit import continued, understood

    for text in overrides:
        key = key_of(text)
        if key.startswith("distributed.") and not key.startswith(("distributed.lost_after", "distributed.start_")):
            raise ConfigError(key, "is filled in by bigtrain launch and can't be set")
    _, checked, _ = understood(overrides, config_dir, trust)
    path = Path(checked.run.run_dir).expanduser()
    if RunDirectory.exists(path):
        continued(RunDirectory.checked(path), overrides, config_dir, trust)
    elif new:
        named = any(key_of(text) == "run_dir" for text in overrides)
        return RunDirectory.claimed(path, numbered=not named)
    return path


class Job:
    """The processes together.

    Args:
        number: how many.
        path: their run directory.
        marks: an empty folder, where each makes a file once it trains and answers a signal by saving.
        trains: whether they do; else they answer no signal by saving, and have an answer with exit code 1.
    """

    def __init__(self, number: int, path: Path, marks: Path, *, trains: bool = True) -> None:
        self.number, self.path, self.marks = number, path, marks
        self.told = (InputError.exit_code,) if trains else (InputError.exit_code, RunError.exit_code)
        self.before = " before training began" if trains else ""
        self.workers: list[Worker] = []
        self.signal: int | None = None  # the first one
        self.insists = False  # a second one came
        self._since = 0.0
        self._trained = False

    def start(self, command: Sequence[str], folder: Path | None) -> None:
        """Starts all of them, each in a session of its own: a Ctrl-C reaches it once, from here."""
        address = f"127.0.0.1:{free_port()}"
        for rank in range(self.number):
            if self.signal is not None:
                return
            environment = {**os.environ, **cluster.told(address, self.number, rank)}
            environment["JAX_COORDINATOR_BIND_ADDRESS"] = address
            environment[watch.LISTENING] = str(self.marks / str(rank))
            environment.setdefault("PYTHONUNBUFFERED", "1")
            # not the working directory, which may be a stranger's, but where this bigtrain is
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(PACKAGE))))
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
            log = folder / f"rank-{rank}.log" if folder is not None else Path(os.devnull)
            worker = Worker(rank, process, log)
            self.workers.append(worker)
            if self.signal is not None:  # it came before the worker was in the list
                worker.process.send_signal(self.signal)
            self._read(worker, f"--- {datetime.now():%Y-%m-%d %H:%M:%S} {shlex.join(command[3:])}\n")

    def _read(self, worker: Worker, head: str) -> None:
        """Copies what a process writes to its log, and process 0's to the terminal too."""
        log = open(worker.log, "ab", buffering=0)  # noqa: SIM115  closed when all is copied
        worker.files.append(log)
        log.write(head.encode())
        shown = {"stdout": sys.stdout, "stderr": sys.stderr} if worker.rank == 0 else {}
        for name in ("stdout", "stderr"):
            stream = getattr(worker.process, name)
            worker.files.append(stream)
            target = copied(stream, log, shown.get(name))
            worker.readers.append(threading.Thread(target=target, daemon=True))
            worker.readers[-1].start()

    @contextlib.contextmanager
    def forwarding(self) -> Iterator[Job]:
        """While the block runs, signals go to all processes."""
        before = {number: signal.signal(number, self.receive) for number in FORWARDED}
        try:
            yield self
        finally:
            self.send(signal.SIGKILL)  # none is left behind, whatever happened
            for number, handler in before.items():
                signal.signal(number, handler)

    def receive(self, number: int, frame: Any = None) -> None:
        """The signal handler: the first goes to all processes; a second means that nobody wants to wait for them."""
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()
            self.send(number)
        elif time.monotonic() - self._since >= REPEAT_SECONDS:
            self.insists = True

    def send(self, number: int) -> None:
        """Sends a signal to those that run."""
        for worker in self.workers:
            if worker.code() is None:
                worker.process.send_signal(number)

    def wait(self) -> int:
        """Waits for all; when one fails, or a signal says so, the others have a moment, and then are ended."""
        while not (failed := [worker for worker in self.workers if worker.code()]) and not self._given_up():
            if all(worker.code() == 0 for worker in self.workers):
                break
            time.sleep(POLL_SECONDS)
        trained, first = self._trains(), None
        code = 0 if self.signal is None or len(self.workers) == self.number else code_of(self.signal)
        if failed:
            first = max(failed, key=lambda worker: worker.process.returncode < 0)  # a killed one is the cause
            code = first.code() or 1
        elif self._given_up():
            code = code_of(self.signal or 0)
        patience = SAVING_SECONDS if trained else QUIT_SECONDS if self.signal is not None else GRACE_SECONDS
        killed = first is not None and first.process.returncode < 0
        self._end_others(patience if code in AGREED else LOST_SECONDS if killed else GRACE_SECONDS)
        self._drain()
        if self.signal is not None and (self.insists or (not trained and code in AGREED)):
            when = " by a second signal" if trained else self.before
            print(f"interrupted{when}; {self._kept()}", file=sys.stderr, flush=True)
            return code_of(self.signal)
        alike = {worker.code() for worker in self.workers} == {code}
        if first is not None and not (alike and (code in self.told or (trained and code in AGREED))):
            self._report(first)
        return code

    def _trains(self) -> bool:
        """Whether all have come to where a signal makes them save; once true it stays so, whatever happens to /tmp."""
        self._trained = self._trained or all((self.marks / str(rank)).exists() for rank in range(self.number))
        return self._trained

    def _given_up(self) -> bool:
        """Whether a signal came that isn't answered: the second, or one to processes that can't hear it yet."""
        late = self.signal is not None and time.monotonic() - self._since > QUIT_SECONDS
        return self.insists or (late and not self._trains())

    def _end_others(self, patience: float) -> None:
        for number, seconds in ((None, patience), (signal.SIGTERM, KILL_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
            if number is not None:
                self.send(number)
            until = time.monotonic() + seconds
            while time.monotonic() < until and not (number is None and self.insists):
                if all(worker.code() is not None for worker in self.workers):
                    return
                time.sleep(POLL_SECONDS)

    def _drain(self) -> None:
        for worker in self.workers:
            for reader in worker.readers:
                reader.join(2.0)
            if not any(reader.is_alive() for reader in worker.readers):  # else a child of its own still writes
                for file in worker.files:
                    file.close()

    def _report(self, first: Worker) -> None:
        """Which process failed, how, the end of its log where it wasn't seen, and what is kept."""
        code = first.process.returncode
        how = f"was lost: killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        lines = first.log.read_text(encoding="utf-8", errors="replace").splitlines() if first.log.is_file() else []
        since = max((at for at, line in enumerate(lines) if line.startswith("--- ")), default=-1)
        if first.rank and lines[since + 1 :]:
            print(f"the end of {first.log}:", file=sys.stderr)
            print("\n".join(f"  {line}" for line in lines[since + 1 :][-TAIL:]), file=sys.stderr)
        rest = f"; {self._kept()}" if code != InputError.exit_code else ""
        if rest and (code < 0 or RunDirectory(self.path).saved()):  # else it would fail in the same way again
            rest += "; type the same command again to go on"
        who = f"process {first.rank} of {self.number} (host {socket.gethostname()}, pid {first.process.pid})"
        print(f"error: {who} {how}{rest}", file=sys.stderr, flush=True)

    def _kept(self) -> str:
        steps = RunDirectory(self.path).saved()
        return f"checkpoints up to step {steps[-1]:,} are complete" if steps else "no checkpoint was complete yet"


def copied(source: IO[bytes], log: IO[bytes], shown: Any) -> Callable[[], None]:
    """What a thread does that copies a stream to a log, and to the terminal if it is shown."""

    def copy() -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := os.read(source.fileno(), 1 << 16):
            log.write(chunk)
            if shown is not None:
                shown.write(decoder.decode(chunk))
                shown.flush()

    return copy


def free_port() -> int:
    """A port of this host that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
