"""Jobs in processes of their own, some at a time, each on devices of its own."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bigtrain.sweep.around import Around
from bigtrain.sweep.job import Outcome, failure, run_dir_of, typed
from bigtrain.sweep.member import written

LOG = "log.txt"
LOOK_SECONDS = 0.2
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")
"""What tells a process of each kind of accelerator which of them are its own."""


@dataclass
class Running:
    """A process under way."""

    job: tuple[str, ...]
    process: subprocess.Popen[bytes]
    place: int
    log: IO[bytes]


@dataclass(frozen=True)
class Isolated:
    """Runs each job as `bigtrain fit` in a process of its own.

    Args:
        at_once: processes at a time; by default one for each of `devices`, or one where there are none.
        devices: accelerators to share out, as `CUDA_VISIBLE_DEVICES` and its kin name them, one for each process.
    """

    at_once: int | None
    devices: Sequence[str] = ()

    @property
    def places(self) -> int:
        """How many processes run at a time."""
        return self.at_once or len(self.devices) or 1

    def run(self, jobs: Sequence[tuple[str, ...]], around: Around) -> Iterator[tuple[str, Outcome]]:
        """Each job's run directory with its outcome, as they end."""
        waiting: list[tuple[str, ...]] = list(jobs)
        running: list[Running] = []
        free = list(range(self.places))
        told = broken = False
        while waiting or running:
            while waiting and free and not around.over() and not broken:
                try:
                    running.append(self._started(waiting[0], free[0], around))
                except OSError as error:
                    broken = True
                    found = failure(error, typed(waiting[0], "stop_at"))
                    yield run_dir_of(waiting.pop(0)).as_posix(), dataclasses.replace(found, state="waiting")
                else:
                    del waiting[0], free[0]
            number = around.listener()
            if number is not None and not told:
                told = True
                for item in running:
                    item.process.send_signal(number)
            for item in [item for item in running if item.process.poll() is not None]:
                running.remove(item)
                free.append(item.place)
                item.log.close()
                outcome = _outcome(item)
                broken = broken or outcome.machine
                yield run_dir_of(item.job).as_posix(), outcome
            if not running and (around.over() or broken):
                for job in waiting:
                    yield run_dir_of(job).as_posix(), Outcome("waiting", stop_at=typed(job, "stop_at"))
                return
            time.sleep(LOOK_SECONDS)

    def _started(self, job: tuple[str, ...], place: int, around: Around) -> Running:
        settings = around.settings
        folder = run_dir_of(job)
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = open(folder.with_name(f"{folder.name}.{LOG}"), "ab")  # noqa: SIM115  closed when the process has ended
        command = [sys.executable, "-m", "bigtrain.sweep.job_process", str(os.getpid()), settings.to_json(), *job]
        environment = {**os.environ, **self._devices(place)}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip  # a session of its own: Ctrl-C reaches it once, through us
        return Running(job, process, place, log)

    def _devices(self, place: int) -> Mapping[str, str]:
        """Which accelerators a process sees."""
        if not self.devices:
            return {}
        return dict.fromkeys(VISIBLE, self.devices[place % len(self.devices)])


def _outcome(item: Running) -> Outcome:
    """What a process has left; one that died without a word has failed, one that was told to end waits."""
    folder, stop_at, code = run_dir_of(item.job), typed(item.job, "stop_at"), item.process.returncode
    found = Outcome.read(folder)
    if found is not None and found.stop_at == stop_at:
        return found
    if code in (130, 143, os.EX_TEMPFAIL):
        return Outcome("waiting", stop_at=stop_at)
    if code == os.EX_IOERR:
        problem = f"the disk or the system failed its process; see {Path(item.log.name).name}"
        return Outcome("waiting", stop_at=stop_at, error=problem, machine=True)
    why = ", as where memory runs out" if code == -signal.SIGKILL else ""
    ended = f"was killed by signal {-code}{why}" if code < 0 else f"ended with exit code {code}"
    log = Path(item.log.name)
    return written(Outcome("failed", stop_at=stop_at, error=f"its process {ended}; see {log.name}"), folder)
