"""Every mistake of `mistakes.txt` has its exact answer and exit code 2, leaves nothing, and doesn't wait for JAX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def test_answers_come_before_jax(tmp_path: Path) -> None:
    """In one process of its own, since this one has JAX already."""
    number = (HERE / "mistakes.txt").read_text(encoding="utf-8").count("\n$ ")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-W", "error", str(HERE / "mistakes.py"), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{number} mistakes, 0 answered wrongly\n"
    assert number > 100
