"""One trainer a run directory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command import typed
from processes import environment

from bigtrain.config.errors import InputError
from bigtrain.run.lock import held

HOLD = "import sys, time; from pathlib import Path; from bigtrain.run.lock import held\n"
HOLD += "with held(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(100)"


def test_a_second_process_is_told_who_trains(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match=rf"is being trained by process {holder.pid} on \S+\n  wait"),
            held(tmp_path),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with held(tmp_path):  # the system has taken it back
            assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def test_threads_hold_folders_of_their_own(tmp_path: Path) -> None:
    refused: list[str] = []

    def other() -> None:
        (tmp_path / "b").mkdir()
        with held(tmp_path / "b"):
            try:
                with held(tmp_path / "a"):
                    refused.append("never")
            except InputError as error:
                refused.append(str(error))

    (tmp_path / "a").mkdir()
    with held(tmp_path / "a"), held(tmp_path / "a"):  # one function that holds it calls another
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == [refused[0]]
    assert re.search(f"is being trained by process {os.getpid()} on ", refused[0])
    with held(tmp_path / "a"), held(tmp_path / "b"):
        pass


def test_a_second_trainer_touches_nothing(trained: Path) -> None:
    thread_has, done = threading.Event(), threading.Event()

    def hold() -> None:
        with held(trained):
            thread_has.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    thread_has.wait()
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    try:
        second = typed(f"fit run_dir={trained} steps=9")
    finally:
        done.set()
        thread.join()
    assert second.code == 2
    assert second.err.startswith(f"error: run_dir: '{trained}' is being trained by process {os.getpid()} on ")
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
