"""Signals at random moments: not one step is lost, and the exit code says which it was."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import command, environment, wait_for
from support import metrics_of

from bigtrain.config.errors import code_of
from bigtrain.run.directory import RunDirectory

RUN = (
    "steps=400000", "model.widths=[8]", "batch_size=16", "log_every=50", "logger=jsonl", "checkpoint.every=1000000",
    "checkpoint.best=false",
)  # fmt: skip
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}
SAVED = r"stopped at step ([\d,]+); everything is saved"


def test_the_codes() -> None:
    """Slurm's warning asks for the same as SIGTERM, so it is answered alike."""
    assert {number: code_of(number) for number in CODES} == CODES


def stopped(run: Path, number: signal.Signals, moment: random.Random) -> tuple[int, float]:
    """The step at which a real run says that a signal has stopped it, and the seconds that took."""
    arguments = ("fit", *RUN, f"run_dir={run}")
    with subprocess.Popen(command(*arguments), env=environment(), stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (run / "metrics.jsonl").is_file() and (run / "metrics.jsonl").stat().st_size)
        time.sleep(moment.random())
        process.send_signal(number)
        begun = time.monotonic()
        _, err = process.communicate(timeout=120)
    seconds = time.monotonic() - begun
    assert process.returncode == CODES[number], err
    said = re.search(SAVED, err)
    assert said, err
    assert re.search(r"^time +[\d.]+ s = .*step [\d.]+", err, re.M), err  # and what it was spent on
    return int(said[1].replace(",", "")), seconds


def assert_nothing_is_lost(run: Path, step: int) -> None:
    """All that was trained is in the one checkpoint, and the log goes up to it."""
    assert RunDirectory(run).saved() == [step]
    logged = [line["step"] for line in metrics_of(run) if "train/loss" in line]
    assert logged == list(range(50, step + 1, 50))


@pytest.mark.parametrize("number", CODES)
def test_a_signal_saves_the_step_it_meets(number: signal.Signals, tmp_path: Path) -> None:
    step, _ = stopped(tmp_path / "run", number, random.Random())
    assert 0 < step < 400_000
    assert_nothing_is_lost(tmp_path / "run", step)
    if number == signal.SIGTERM:  # and the same command goes on
        again = ("fit", *RUN, f"run_dir={tmp_path / 'run'}", f"steps={step + 60}", "--json")
        done = subprocess.run(command(*again), env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["steps"] == step + 60
        logged = [line["step"] for line in metrics_of(tmp_path / "run") if "train/loss" in line]
        assert logged == sorted({*range(50, step + 61, 50), step + 60})


@pytest.mark.long
@pytest.mark.timeout(1200)  # twenty starts
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_twenty_signals_lose_no_step(number: signal.Signals, tmp_path: Path) -> None:
    """One run after the other, each at another moment (the seconds from signal to end are printed with -s)."""
    taken = []
    for turn in range(20):
        run = tmp_path / str(turn)
        step, seconds = stopped(run, number, random.Random(turn))
        assert_nothing_is_lost(run, step)
        taken.append((step, round(seconds, 2)))
    assert len({step for step, _ in taken}) > 10, "they met different steps"
    print(f"{number.name}: (step, seconds) {taken}; slowest {max(seconds for _, seconds in taken)} s")
