"""The end of a process that has loaded JAX: what is under way is finished, nothing is waited for in vain."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit, concurrent.futures, os, sys, threading, time
sys.modules["jax"] = os  # as if it had been loaded
from bigtrain.run.ending import end_process

def work():
    time.sleep(0.3)
    print("a thread ended its work", flush=True)

def given(number):
    return number + 1

if __name__ == "__main__":
    if sys.argv[1] == "thread":
        threading.Thread(target=work).start()
    elif sys.argv[1] == "endless":
        threading.Thread(target=time.sleep, args=(1000,)).start()
        threading.Timer(0.5, os.kill, (os.getpid(), 2)).start()  # Ctrl-C
    elif sys.argv[1] == "daemon":
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    else:
        pool = concurrent.futures.ProcessPoolExecutor(1)
        print(pool.submit(given, 1).result())
    atexit.register(print, "registered")
    end_process(3)
"""


@pytest.mark.parametrize(
    ("what", "printed"),
    [("thread", "a thread ended its work\nregistered\n"), ("daemon", "registered\n"), ("pool", "2\nregistered\n")],
)
def test_the_end(tmp_path: Path, what: str, printed: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), what]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60
    )  # whoever keeps the pipe open is waited for
    assert (done.returncode, done.stdout, done.stderr) == (3, printed, "")


def test_who_does_not_want_to_wait_interrupts_and_sees_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), "endless"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
