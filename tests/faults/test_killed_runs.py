"""Runs that are killed again and again, and started again by the same command, end as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults.counted import counted
from faults.tables import lines_of, rows_of
from faults.zygote import Zygote, zygote
from meshes import FAMILIES
from processes import command, environment
from support import metrics_of

from bigtrain.checkpoint import Checkpoints
from bigtrain.run.directory import RunDirectory

RUN = (
    "steps=60", "batch_size=16", "log_every=2", "eval_every=7", "checkpoint.every=3", "logger=[jsonl,csv]", "ema=0.9",
    "clip_norm=1.0", "plan.check=off",
)  # fmt: skip
RESUMES = 10  # different steps that a run goes on from in the long tests
PATIENCE = 240.0  # seconds that a life may take to make a checkpoint
Life = Callable[[Path, bool], int]
"""Starts the run, kills it some time after it has made a checkpoint (or earlier, if told so); the exit code."""


def saved(run: Path) -> list[int]:
    return RunDirectory(run).saved()


def until_further(run: Path, before: int, alive: Callable[[], bool]) -> None:
    """Waits for a checkpoint beyond a step, or the end of the life."""
    until = time.monotonic() + PATIENCE
    while alive() and max(saved(run), default=0) <= before:
        assert time.monotonic() < until
        time.sleep(0.002)


def exists(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def forked(parent: Zygote, overrides: tuple[str, ...], random: np.random.Generator) -> Life:
    """Lives as children of a zygote."""

    def life(run: Path, early: bool) -> int:
        before = max(saved(run), default=0)
        child = parent.begin(["fit", *overrides, f"run_dir={run}"], run.with_suffix(".log"))
        if early:
            time.sleep(random.uniform(0.0, 2.0))
        else:
            until_further(run, before, lambda: exists(child))
            time.sleep(random.uniform(0.0, 0.03))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return parent.end()

    return life


def launched(overrides: tuple[str, ...], random: np.random.Generator) -> Life:
    """Lives of two processes, of which one is killed."""

    def life(run: Path, early: bool) -> int:
        before = max(saved(run), default=0)
        whole = command("launch", "-n", "2", "fit", *overrides, f"run_dir={run}")
        with open(run.with_suffix(".log"), "ab") as log:
            parent = subprocess.Popen(whole, env=environment(), stdout=log, stderr=log)
        until_further(run, before, lambda: parent.poll() is None)
        time.sleep(random.uniform(0.0, 0.03))
        children = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
        if children:
            os.kill(children[int(random.integers(len(children)))], signal.SIGKILL)
        return parent.wait(120)

    return life


def lived(run: Path, life: Life, wanted: int, random: np.random.Generator) -> tuple[int, set[int]]:
    """Kills a run until it has gone on from `wanted` steps; how often it was killed, and which steps those were."""
    killed, steps = 0, set()
    while len(steps) < wanted:
        code = life(run, killed > 0 and random.random() < 0.15)
        assert code in (-signal.SIGKILL, 128 + signal.SIGKILL, 1), run.with_suffix(".log").read_text()[-2000:]
        killed += 1
        if saved(run):
            steps.add(saved(run)[-1])
        assert killed <= 4 * wanted, f"it comes no further than {sorted(steps)}"
    return killed, steps


def same(run: Path, whole: Path, step: int) -> None:
    """The same state, bit for bit, and the same lines, but for what the clock says."""
    states = [Checkpoints(path / "checkpoints").meta(step)["state"] for path in (run, whole)]
    assert states[0] == states[1]
    assert metrics_of(run) == metrics_of(whole)
    assert rows_of(run) == lines_of(run)
    assert [Checkpoints(run / "checkpoints").problem(step) for step in saved(run)] == [None] * len(saved(run))


def _to_its_end(parent: Zygote, overrides: tuple[str, ...], run: Path) -> None:
    parent.begin(["fit", *overrides, f"run_dir={run}"], run.with_suffix(".log"))
    assert parent.end() == 0, run.with_suffix(".log").read_text()


def killed_and_whole(model: tuple[str, ...], folder: Path, wanted: int) -> tuple[int, set[int]]:
    """A run that is killed ends as one that is not; how often it was, and the steps that it went on from."""
    overrides, random = (*model, *RUN), np.random.default_rng(0)
    with zygote(environment()) as parent:
        _to_its_end(parent, overrides, folder / "whole")
        killed, steps = lived(folder / "killed", forked(parent, overrides, random), wanted, random)
        _to_its_end(parent, overrides, folder / "killed")
    same(folder / "killed", folder / "whole", 60)
    return killed, steps


def test_a_run_that_is_killed_twice(tmp_path: Path) -> None:
    killed, steps = killed_and_whole(("model.widths=[8]", "model.dropout=0.1"), tmp_path, 2)
    assert killed >= len(steps) == 2


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_killed_again_and_again(name: str, tmp_path: Path) -> None:
    killed, steps = killed_and_whole(FAMILIES[name], tmp_path, RESUMES)
    counted(f"SIGKILL over a whole run: {name}", kills=killed, resume_steps=len(steps), states_that_differ=0)


def _together_to_the_end(overrides: tuple[str, ...], run: Path) -> None:
    whole = command("launch", "-n", "2", "fit", *overrides, f"run_dir={run}")
    done = subprocess.run(whole, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_two_processes_of_which_one_is_killed(tmp_path: Path) -> None:
    overrides, random = (*FAMILIES["mlp"], *RUN, "mesh=fsdp"), np.random.default_rng(0)
    _together_to_the_end(overrides, tmp_path / "whole")
    killed, steps = lived(tmp_path / "killed", launched(overrides, random), RESUMES, random)
    _together_to_the_end(overrides, tmp_path / "killed")
    same(tmp_path / "killed", tmp_path / "whole", 60)
    counted("SIGKILL of one of two processes", kills=killed, resume_steps=len(steps), states_that_differ=0)
