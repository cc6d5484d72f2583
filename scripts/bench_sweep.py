"""A sweep as one program, against the same runs as processes of their own and one after the other in one process.

    python scripts/bench_sweep.py                       # W1 and W3, 64 members of one epoch each
    python scripts/bench_sweep.py --members 16 --workload W1 --sides population sequential

Every side trains the same configurations: learning rates x seeds of the workload, an epoch of 60,000 pictures of 28x28
(random ones: the time doesn't depend on them), evaluated and saved as `bigtrain fit` does by default.

population  `bigtrain fit -m`, all members
sequential  `bigtrain fit` called once for each member, in one process: what a loop in a script does
processes   `bigtrain fit` as a process for each member, as many at a time as there are cores; of `--sample` members,
            scaled to all of them
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from bench.arguments import count

WORKLOADS = {
    "W1": ("model=mlp", "model.widths=[64,64]"),
    "W3": ("model=vae", "model.widths=[64]", "model.latent=32"),
}
BATCH, EXAMPLES = 32, 60_000


def data(folder: Path) -> str:
    """A set of the size of Fashion-MNIST."""
    path, rng = folder / "pictures.npz", np.random.default_rng(0)
    inputs = rng.integers(0, 256, (EXAMPLES, 28, 28), np.uint8)
    held = inputs[:5000]
    labels = rng.integers(0, 10, EXAMPLES)
    np.savez(path, x_train=inputs, y_train=labels, x_validation=held, y_validation=labels[:5000])
    return str(path)


def configurations(members: int) -> list[tuple[str, str]]:
    """Learning rates x four seeds."""
    rates = [f"optimizer.learning_rate={rate!r}" for rate in np.geomspace(1e-4, 1e-2, -(-members // 4)).tolist()]
    return list(itertools.product(rates, [f"seed={seed}" for seed in range(4)]))[:members]


def in_process(arguments: Sequence[str]) -> str:
    """A command in this process; its stderr."""
    from bigtrain.cli import main

    before, err = sys.argv, io.StringIO()
    sys.argv = ["bigtrain", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = main()
    finally:
        sys.argv = before
    if code:
        raise SystemExit(err.getvalue())
    return err.getvalue()


def population(base: Sequence[str], swept: Sequence[tuple[str, str]], folder: Path, sample: int) -> tuple[float, str]:
    """All of them in one command, in a fresh process; what it said of its programs."""
    keys = [",".join(dict.fromkeys(text.split("=")[1] for text in column)) for column in zip(*swept, strict=True)]
    typed = [f"optimizer.learning_rate={keys[0]}", f"seed={keys[1]}", f"sweep_dir={folder / 'sweep'}"]
    begun = time.perf_counter()
    command = [sys.executable, "-m", "bigtrain", "fit", "-m", *base, *typed, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(done.stderr)
    assert json.loads(done.stdout)["trials"] == {"done": len(swept)}
    return seconds, " ".join(line for line in done.stderr.splitlines() if line.startswith("program"))


def sequential(base: Sequence[str], swept: Sequence[tuple[str, str]], folder: Path, sample: int) -> tuple[float, str]:
    """One after the other in this process, of which the first, which imports and compiles, isn't counted."""
    in_process(["fit", *base, *swept[0], f"run_dir={folder / 'warm'}"])
    begun = time.perf_counter()
    for at, texts in enumerate(swept[:sample]):
        in_process(["fit", *base, *texts, f"run_dir={folder / f'one-{at}'}"])
    return (time.perf_counter() - begun) * len(swept) / sample, f"{sample} members, scaled"


def processes(base: Sequence[str], swept: Sequence[tuple[str, str]], folder: Path, sample: int) -> tuple[float, str]:
    """As many processes at a time as there are cores; the compilation cache is warm."""

    def one(at: int) -> None:
        command = [sys.executable, "-m", "bigtrain", "fit", *base, *swept[at], f"run_dir={folder / f'process-{at}'}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)

    cores = len(os.sched_getaffinity(0))
    one(len(swept) - 1)
    begun = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(one, range(sample)))
    return (time.perf_counter() - begun) * len(swept) / sample, f"{sample} members, {cores} at a time, scaled"


SIDES: dict[str, Callable[..., tuple[float, str]]] = {
    "population": population, "sequential": sequential, "processes": processes,
}  # fmt: skip


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=count, default=64)
    parser.add_argument("--sample", type=count, default=16)
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    given = parser.parse_args()
    print("| workload | side | seconds | population / side | |\n| --- | --- | --- | --- | --- |")
    for workload in given.workload:
        with tempfile.TemporaryDirectory() as name:
            folder, first = Path(name), None
            base = (
                *WORKLOADS[workload], "data=npz", f"data.path={data(folder)}", f"batch_size={BATCH}", "steps=1epochs",
            )  # fmt: skip
            for side in given.sides:
                swept = configurations(given.members)
                seconds, note = SIDES[side](base, swept, folder, min(given.sample, given.members))
                first = first or seconds
                print(f"| {workload} | {side} | {seconds:.1f} | {first / seconds:.3f} | {note} |", flush=True)


if __name__ == "__main__":
    main()
