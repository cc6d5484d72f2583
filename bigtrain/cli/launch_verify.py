"""`bigtrain launch -n N verify RUN`: as many processes of this host as the run had train a part of it again."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bigtrain.cli.launch import Job
from bigtrain.config.errors import ConfigError
from bigtrain.run.directory import RunDirectory


def run(given: Sequence[str], options: Sequence[str], *, number: int, logs: Path | None) -> int:
    """Starts `bigtrain verify` so many times; returns its exit code.

    Args:
        given: what stands behind the verb; has to be one run directory.
        options: of verify, for each process.
        number: how many.
        logs: the folder of their logs; None for none, since nothing of a run is touched but its receipt.

    Raises:
        InputError: when there is no run.
    """
    if len(given) != 1:
        problem = f"verify takes one run directory, and not {len(given)}"
        raise ConfigError("launch", problem, hint=f"bigtrain launch -n {number} verify RUN")
    path = RunDirectory.find(Path(given[0])).path
    with tempfile.TemporaryDirectory(prefix="bigtrain-") as folder:
        marks, kept = Path(folder) / "marks", logs or Path(folder) / "logs"
        marks.mkdir()
        kept.mkdir(parents=True, exist_ok=True)
        with Job(number, path, marks, trains=False).forwarding() as job:
            job.start([sys.executable, "-P", "-m", "bigtrain", "verify", str(path), *options], kept)
            return job.wait()
