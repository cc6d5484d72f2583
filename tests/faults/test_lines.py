"""Hundreds of wrong command lines: each has one message and exit code 2, leaves nothing, and doesn't wait for JAX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def _tried(folder: Path, every: int, drawn: int) -> None:
    """In one process of its own, since this one has JAX already."""
    lines = [line for line in (HERE / "lines.txt").read_text().splitlines() if line and not line.startswith("# ")]
    assert len(lines) >= 500
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(HERE)])
    command = [sys.executable, str(HERE / "fuzz.py"), str(folder), str(every), str(drawn)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    wanted = f"{len(lines[::every])} lines and {drawn} drawn ones, 0 answered wrongly\n"
    assert done.stdout == wanted, done.stdout[-3000:]


def test_some_lines(tmp_path: Path) -> None:
    _tried(tmp_path, every=16, drawn=20)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_lines(tmp_path: Path) -> None:
    _tried(tmp_path, every=1, drawn=300)
