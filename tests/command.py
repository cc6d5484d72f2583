"""The command line, called in this process."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from bigtrain.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code and what it wrote to the terminal."""

    code: int
    out: str
    err: str


def bigtrain(*arguments: str) -> Outcome:
    """`bigtrain ARGUMENTS…`; `sys.argv` and `sys.path` are as before afterwards."""
    argv, path = sys.argv, list(sys.path)
    sys.argv = ["bigtrain", *arguments]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.argv, sys.path[:] = argv, path
    return Outcome(code, out.getvalue(), err.getvalue())


def typed(line: str) -> Outcome:
    """A command as a person types it, without the leading `bigtrain`."""
    return bigtrain(*shlex.split(line))


def files(folder: Path) -> set[str]:
    """Every path under a folder."""
    return {f"{where}/{name}" for where, folders, names in os.walk(folder) for name in (*folders, *names)}
