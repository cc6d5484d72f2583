"""One job in a process of its own: `python -m bigtrain.sweep.job_process PARENT SETTINGS OVERRIDES…`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from bigtrain.config.errors import code_of
from bigtrain.run.ending import end_process
from bigtrain.sweep.member import Settings, run
from bigtrain.train import interrupt

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def main(arguments: Sequence[str]) -> int:
    """Trains, and returns the exit code: 0 whatever became of the trial, which its run directory says."""
    parent, settings, *overrides = arguments
    _end_with_parent(int(parent))
    with interrupt.requests() as listener:
        outcome = run(overrides, Settings.from_json(settings), listener)
    if outcome.state == "waiting" and not outcome.machine:
        return code_of(listener.received) if listener.received is not None else os.EX_TEMPFAIL
    if outcome.error is not None:
        print(f"error: {outcome.error}", file=sys.stderr)
    return os.EX_IOERR if outcome.machine else 0


def _end_with_parent(parent: int) -> None:
    """On Linux: saves and ends when the sweep's process is gone, so that the sweep can be started again at once."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it is gone already
            raise SystemExit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
