"""Runs in several real processes on this host, small enough for tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bigtrain.cli.launch import free_port

ROOT = Path(__file__).parent.parent
SMALL = ("model.widths=[8]", "batch_size=16", "logger=jsonl", "log_every=1", "eval_every=4")
ENDLESS = (*SMALL, "steps=1000000", "log_every=50", "eval_every=100000", "checkpoint.every=200", "steps_per_dispatch=5")

READING = '''
"""A data set that writes down which of its examples each process reads, and fails where it is told to."""

import json
import os

import numpy as np

from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.spec import Field


class Recorded:
    def __init__(self, source, folder, fails):
        self.source, self.folder, self.fails = source, folder, fails

    def __len__(self):
        return len(self.source)

    def __getitem__(self, indices):
        rank = os.environ.get("BIGTRAIN_PROCESS", "0")
        with open(f"{self.folder}/read-{rank}.jsonl", "a") as file:
            file.write(json.dumps(np.asarray(indices).tolist()) + "\\n")
        if rank == self.fails and os.path.exists(f"{self.folder}/fail"):
            raise ZeroDivisionError("this disk is on fire")
        return self.source[indices]


def reading(*, folder: str, fails: str = ""):
    """96 examples."""
    import dataclasses

    random = np.random.default_rng(0)
    columns = {"inputs": random.normal(size=(96, 4)).astype(np.float32), "targets": np.arange(96, dtype=np.int32) % 3}
    fields = {"inputs": Field((4,), "float32", "features"), "targets": Field((), "int32", "label")}
    splits = {"train": np.arange(80), "validation": np.arange(80, 96)}
    sources = {k: Arrays({n: c[at] for n, c in columns.items()}) for k, at in splits.items()}
    made = dataset("reading", fields, sources, classes=("a", "b", "c"))
    train = Recorded(made.splits["train"], folder, fails)
    return dataclasses.replace(made, splits={**made.splits, "train": train})
'''


def environment(**extra: str) -> dict[str, str]:
    """What a process of its own runs in: the devices that its command asks for, and no cluster."""
    ours = ("SLURM_", "OMPI_", "BIGTRAIN_P", "BIGTRAIN_COORDINATOR")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**clean, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **extra}


def command(*arguments: str) -> list[str]:
    """The command line of `bigtrain ARGUMENTS…`."""
    return [sys.executable, "-m", "bigtrain", *arguments]


def launch(*arguments: str, timeout: float = 150, **extra: str) -> subprocess.CompletedProcess[str]:
    """`bigtrain launch ARGUMENTS…` to its end."""
    whole = command("launch", *arguments)
    return subprocess.run(whole, env=environment(**extra), capture_output=True, text=True, timeout=timeout)


@contextlib.contextmanager
def started(
    number: int,
    *arguments: str,
    folder: Path,
    variables: Sequence[Mapping[str, str]] | None = None,
    wanted: int | None = None,
    verb: str = "fit",
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes started one by one, as a cluster would, by `distributed.*` or by variables; what is left is killed.

    With `wanted` they are told of so many.
    """
    port = free_port()
    running = []
    for rank in range(number):
        where = (f"distributed.coordinator=127.0.0.1:{port}", f"distributed.num_processes={wanted or number}")
        given = [*arguments, *(() if variables else (*where, f"distributed.process_id={rank}"))]
        extra = dict(variables[rank]) if variables else {}
        with open(folder / f"out-{rank}.txt", "w") as out, open(folder / f"err-{rank}.txt", "w") as err:
            running.append(
                subprocess.Popen(command(verb, *given), env=environment(**extra), stdout=out, stderr=err, text=True)
            )
    try:
        yield running
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


def errors(folder: Path, rank: int) -> str:
    """What a process that `started` has written to stderr."""
    return (folder / f"err-{rank}.txt").read_text()


def wait_for(condition: object, seconds: float = 100) -> None:
    """Until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)


def codes(running: Sequence[subprocess.Popen[str]], seconds: float = 60) -> list[int]:
    """The exit codes, once all have ended."""
    return [process.wait(seconds) for process in running]
