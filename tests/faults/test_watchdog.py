"""A run that hangs is ended, and one that is merely slow isn't."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from processes import command, environment
from sources import broken

from bigtrain.config.schema import MeshConfig
from bigtrain.metrics import Mean
from bigtrain.parallel.mesh import make
from bigtrain.parallel.pulse import PULSE, beat
from bigtrain.parallel.rules import Rules
from bigtrain.parallel.watchdog import Watchdog
from bigtrain.run.directory import RunDirectory
from bigtrain.train.evaluate import Batching, Scorer

HANGING = '''
"""Digits of which a batch never comes."""

import dataclasses
import time

import numpy as np

from bigtrain.data.digits import digits


class Hanging:
    def __init__(self, source, after):
        self.source, self.after = source, after

    def __len__(self):
        return len(self.source)

    def __getitem__(self, indices):
        self.after -= 1
        while self.after < 0:
            time.sleep(0.1)
        return self.source[indices]


def hanging(*, after: int):
    """The digits; reads of the training split beyond so many hang."""
    made = digits()
    return dataclasses.replace(made, splits={**made.splits, "train": Hanging(made.splits["train"], after)})
'''


def test_silence_is_noticed_once() -> None:
    hung = threading.Event()
    calls: list[float] = []

    def end() -> None:
        calls.append(time.monotonic())
        hung.set()

    begun = time.monotonic()
    watchdog = Watchdog(0.2, end)
    watchdog.begin()
    assert hung.wait(30)
    assert calls[0] - begun >= 0.2
    time.sleep(0.3)
    assert len(calls) == 1


def test_signs_of_life_keep_it_quiet_and_so_does_the_end() -> None:
    calls: list[str] = []
    busy, closed = (Watchdog(seconds, lambda: calls.append("hung")) for seconds in (1.5, 0.3))
    busy.begin()
    closed.begin()
    closed.close()
    for _ in range(20):
        beat()
        time.sleep(0.1)
    busy.close()
    assert calls == []


def test_a_run_whose_data_never_comes_is_ended_with_its_stacks(tmp_path: Path) -> None:
    (tmp_path / "mydata.py").write_text(HANGING)
    run = tmp_path / "run"
    done = subprocess.run(
        command(
            "fit", "data=digits", "data._target_=mydata.hanging", "+data.after=8", "--trust", "mydata",
            "placement=stream", "steps_per_dispatch=1", "steps=100", "checkpoint.every=2",
            "model.widths=[8]", "logger=jsonl", "watchdog=3", f"run_dir={run}",
        ),
        env={**environment(), "PYTHONPATH": f"{environment()['PYTHONPATH']}:{tmp_path}"},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-2:]
    assert last[0].startswith("error: no progress for 3 s while in 'data wait' after step ")
    assert last[0].endswith("; the run is ended, and what was saved is intact")
    assert last[1] == f"  {run / 'stacks.txt'} says what every thread was doing; to wait longer: watchdog=SECONDS"
    stacks = (run / "stacks.txt").read_text()
    assert "mydata.py" in stacks, "the thread that hangs"
    assert "loop.py" in stacks, "and the one that waits for it"
    steps = RunDirectory(run).saved()
    assert max(steps) >= 6


def test_every_chunk_of_an_evaluation_is_a_sign_of_life() -> None:
    """So a long one isn't taken for one that hangs."""
    rules, data = Rules.of(make(cfg := MeshConfig(data=1)), cfg), broken(None)
    program = SimpleNamespace(evaluate=lambda *_: {"loss": Mean(np.float32(1), np.float32(2))})
    scorer = Scorer(program, Batching(data.spec, rules, 4, 2), data.splits["validation"], {})
    before = PULSE.beats
    assert scorer(None) == {"loss": 0.5}
    assert PULSE.beats == before + 2, "16 examples in chunks of 2 batches of 4"
