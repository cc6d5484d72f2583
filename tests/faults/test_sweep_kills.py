"""A sweep that is killed at any moment goes on as if it had not been: nothing is lost, and nothing trained twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = ("model.widths=[8]", "steps=300", "batch_size=16", "eval_every=100", "checkpoint.every=50", "logger=jsonl")
GRID = ("optimizer.learning_rate=1e-3,3e-3,1e-2", "seed=range(4)")
HALVING = ("sweep=halving", "sweep.eta=2", "sweep.rungs=3", "seed=range(8)")


def command(folder: Path, *swept: str) -> list[str]:
    return [sys.executable, "-m", "bigtrain", "fit", "-m", *SMALL, *swept, f"sweep_dir={folder}"]


def started(folder: Path, *swept: str) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command(folder, *swept), stdout=quiet, stderr=quiet, start_new_session=True)


def finished(folder: Path) -> dict[str, int]:
    """When each trial was finished, in ns."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}


def progress(folder: Path) -> tuple[int, int]:
    """How many trials have begun, and what they have logged in bytes."""
    logs = [path.stat().st_size for path in folder.glob("trials/*/metrics.jsonl")]
    return len(list(folder.glob("trials/*"))), sum(logs)


def killed(folder: Path, kills: int, *swept: str, seed: int = 0) -> tuple[int, int]:
    """Kills a sweep again and again and lets it end; how many kills met it at work, and how many came after its start.

    Fails when a trial that was finished is finished once more.
    """
    rng, met, known = random.Random(seed), 0, {}
    for _ in range(kills):
        process = started(folder, *swept)
        begun = time.monotonic()
        while not (folder / "trials").is_dir() and process.poll() is None:
            time.sleep(0.05)
        before = progress(folder)
        while progress(folder) == before and process.poll() is None and time.monotonic() < begun + 60:
            time.sleep(0.02)  # until one more trial has begun, or one goes on: those of a later rung have begun before
        time.sleep(rng.uniform(0.0, 0.25))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            met += 1
        process.wait()
        now = finished(folder)
        assert known.items() <= now.items(), "a finished trial was written again"
        known = now
    assert started(folder, *swept).wait(timeout=600) == 0
    assert known.items() <= finished(folder).items()
    return met, len(known)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("swept", [GRID, HALVING], ids=["grid", "halving"])
def test_killed_ten_times(tmp_path: Path, swept: tuple[str, ...]) -> None:
    assert started(tmp_path / "whole", *swept).wait(timeout=600) == 0
    met, _ = killed(tmp_path / "killed", 10, *swept)
    assert met >= 5, "most kills came when the sweep had ended already"
    assert (tmp_path / "killed" / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("number", "launcher"),
    [(signal.SIGTERM, "population"), (signal.SIGINT, "population"), (signal.SIGTERM, "isolated")],
)
def test_a_signal_saves_all_members(tmp_path: Path, number: signal.Signals, launcher: str) -> None:
    """The exit code says which; nothing that was trained is trained again, and the results are the same."""
    more = ("seed=range(6)", "steps=3000", f"hydra/launcher={launcher}")
    process = started(tmp_path / "sweep", *more)
    while len(list((tmp_path / "sweep").glob("trials/*/metrics.jsonl"))) < 2:
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(timeout=120) == 128 + number
    known = finished(tmp_path / "sweep")
    assert len(known) < 6, "the signal came when all had ended"
    assert started(tmp_path / "sweep", *more).wait(timeout=600) == 0
    assert known.items() <= finished(tmp_path / "sweep").items()
    assert started(tmp_path / "whole", *more).wait(timeout=600) == 0
    assert (tmp_path / "sweep" / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_launches_share_a_ledger(tmp_path: Path) -> None:
    """Each trial is trained by one of them; both end, with the same results."""
    import json

    folder, more = tmp_path / "sweep", ("seed=range(80)",)
    both = [started(folder, *more, "steps=100") for _ in range(2)]
    assert [process.wait(timeout=800) for process in both] == [0, 0]
    processes = [json.loads(path.read_text()).get("command") for path in folder.glob("trials/*/environment.json")]
    assert len(processes) == 80
    whole = tmp_path / "whole"
    assert started(whole, *more, "steps=100").wait(timeout=800) == 0
    assert (folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    import sqlite3

    with sqlite3.connect(folder / "ledger.sqlite") as db:
        assert [row[0] for row in db.execute("SELECT runs FROM trials")] == [1] * 80
    db.close()
