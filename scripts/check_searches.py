"""What searches are for, on real training: a small MLP on the digits.

    python scripts/check_searches.py                  # both checks, five seeds each
    python scripts/check_searches.py --seeds 2 tpe    # some of it

tpe: with as many trials, the mean of the best validation loss is lower than that of random search.
hyperband: for every seed, its best validation loss is at most 0.5% above the best of the whole grid, for at most 40% of
the grid's steps.

Every sweep is `bigtrain fit -m` in a process of its own, and what it found is read from its `results.csv`. Exit code 1
where a check doesn't hold.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench.arguments import count

ROOT = Path(__file__).resolve().parents[1]
BASE = ("data=digits", "model=mlp", "model.widths=[32]", "optimizer=adamw", "batch_size=32", "logger=jsonl")
SPACE = (
    "steps=270",
    "optimizer.learning_rate=tag(log,interval(1e-5,1))",
    "optimizer.weight_decay=tag(log,interval(1e-4,1))",
    "model.dropout=interval(0.01,0.8)",
)
GRID = (
    "steps=540",
    "optimizer.weight_decay=0.01",
    "optimizer.learning_rate=1e-4,3e-4,1e-3,3e-3,1e-2,3e-2,1e-1,3e-1,1",
    "model.dropout=0.05,0.1,0.2,0.3,0.4,0.5",
)
TRIALS, NEAR, SHARE = 24, 1.005, 0.4


@dataclass(frozen=True)
class Found:
    """What a sweep came to: its lowest loss of a run that trained to its end, and the optimizer steps of all runs."""

    lowest: float
    steps: int
    trials: int

    @classmethod
    def read(cls, path: Path) -> Found:
        """Reads a `results.csv`; the objective's column is the one before `steps`."""
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        objective = list(rows[0])[list(rows[0]).index("steps") - 1]
        longest = max(int(row["steps"]) for row in rows)
        scores = [float(row[objective]) for row in rows if row["state"] == "done" and int(row["steps"]) == longest]
        return cls(float(np.nanmin(scores)), sum(int(row["steps"]) for row in rows), len(rows))


def sweep(folder: Path, *overrides: str) -> Found:
    """One sweep from the command line."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bigtrain", "fit", "-m", *BASE, *overrides, f"sweep_dir={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr}")
    return Found.read(folder / "results.csv")


def tpe(folder: Path, seeds: Sequence[int]) -> bool:
    """Whether TPE finds better configurations than random search with as many trials, in the mean over seeds."""
    print("| seed | random | tpe |\n| --- | --- | --- |", flush=True)
    rows = []
    for seed in seeds:
        given = (*SPACE, f"sweep.trials={TRIALS}", f"sweep.seed={seed}")
        pair = [sweep(folder / f"{name}-{seed}", f"sweep={name}", *given) for name in ("random", "tpe")]
        assert {found.trials for found in pair} == {TRIALS}, "the budgets differ"
        rows.append([found.lowest for found in pair])
        print(f"| {seed} | {rows[-1][0]:.4f} | {rows[-1][1]:.4f} |", flush=True)
    random, learnt = np.mean(rows, axis=0)
    print(f"| mean | {random:.4f} | {learnt:.4f} |\n", flush=True)
    return bool(learnt < random)


def hyperband(folder: Path, seeds: Sequence[int]) -> bool:
    """Whether Hyperband finds nearly the best of a grid for a part of its steps, for every seed."""
    grid = sweep(folder / "grid", "sweep=grid", *GRID)
    print("| | best loss | to the grid's | steps | of the grid's |\n| --- | --- | --- | --- | --- |", flush=True)
    print(f"| grid of {grid.trials} | {grid.lowest:.4f} | | {grid.steps:,} | |", flush=True)
    fine = True
    for seed in seeds:
        found = sweep(folder / f"hyperband-{seed}", "sweep=hyperband", *GRID, f"sweep.seed={seed}")
        near, share = found.lowest / grid.lowest, found.steps / grid.steps
        fine &= near <= NEAR and share <= SHARE
        print(f"| seed {seed} | {found.lowest:.4f} | {near:.4f} | {found.steps:,} | {share:.1%} |", flush=True)
    print(flush=True)
    return fine


CHECKS = {"tpe": tpe, "hyperband": hyperband}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"{', '.join(CHECKS)}; all by default")
    parser.add_argument("--seeds", type=count, default=5, help="how many sweeps each search is the mean of")
    asked = parser.parse_args()
    if unknown := set(asked.checks) - set(CHECKS):
        parser.error(f"no check {sorted(unknown)[0]!r}; there are {', '.join(CHECKS)}")
    held = {}
    with tempfile.TemporaryDirectory() as name:
        for check in asked.checks or CHECKS:
            held[check] = CHECKS[check](Path(name) / check, range(asked.seeds))
    print(*(f"{check}: {'holds' if fine else 'DOES NOT HOLD'}" for check, fine in held.items()), sep="\n")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
