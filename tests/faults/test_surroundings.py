"""What is around a run fails: its loggers, its disk, its data, the clock."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import command, environment, wait_for
from sources import broken, saved, trained
from support import metrics_of

from bigtrain.config.errors import RunError
from bigtrain.data import placement
from bigtrain.data.workers import Batches
from bigtrain.run import pictures
from bigtrain.run.directory import RunDirectory
from bigtrain.run.history import read_lines
from bigtrain.tracking.append import Appended
from bigtrain.tracking.console import Console
from bigtrain.tracking.csv import CSV
from bigtrain.tracking.jsonl import JSONL
from bigtrain.tracking.logger import Tolerant
from bigtrain.tracking.tensorboard import TensorBoard


class Unreachable:
    """A logger whose server doesn't answer its first so many lines, and perhaps not even at the end."""

    def __init__(self, failures: int, *, closes: bool = True) -> None:
        self.failures, self.closes = failures, closes
        self.asked, self.lines = 0, list[int]()

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self.asked += 1
        if self.asked <= self.failures:
            raise ConnectionError("no route to host")
        self.lines.append(step)

    def close(self) -> None:
        if not self.closes:
            raise ConnectionError("no route to host")


@pytest.mark.parametrize("failures", [1, 3])
def test_a_logger_that_fails_for_a_while_gets_every_line_in_order(failures: int) -> None:
    said: list[str] = []
    inner = Unreachable(failures)
    logger = Tolerant(inner, "remote", said.append)
    for step in range(20):
        logger.log(step, {"train/loss": 1.0})
    logger.close()
    assert inner.asked > failures
    assert inner.lines == list(range(20))
    assert len(said) == 1
    assert said[0].startswith("logger remote failed: ConnectionError: no route to host; training goes on")


def test_a_logger_that_never_answers_is_asked_ever_more_rarely_and_its_loss_is_told() -> None:
    said: list[str] = []
    inner = Unreachable(10**9, closes=False)
    logger = Tolerant(inner, "remote", said.append)
    for step in range(1000):
        logger.log(step, {"train/loss": 1.0})
    assert inner.asked == 10
    logger.close()
    assert len(said) == 2
    assert said[1] == "logger remote: 1,000 lines were not written (ConnectionError: no route to host)"


def test_a_run_goes_on_without_a_logger_and_loses_no_line_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fails(self: TensorBoard, step: int, scalars: Mapping[str, float]) -> None:
        calls.append(step)
        raise TimeoutError("the server is away")

    said: list[str] = []
    monkeypatch.setattr(TensorBoard, "log", fails)
    monkeypatch.setattr(Console, "say", lambda self, text="", style="": said.append(text))
    result = trained(monkeypatch, broken(None), tmp_path / "run", "logger=[jsonl,tensorboard]")
    assert calls, "the logger was never asked"
    assert result["steps"] == 40
    lines = metrics_of(tmp_path / "run")
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(4, 41, 4))
    told = [text for text in said if text.startswith("logger tensorboard")]
    assert len(told) == 2, "the first time, and at the end"
    assert told[1].startswith("logger tensorboard: 12 lines were not written (TimeoutError")


def test_a_full_disk_takes_no_line_of_the_metrics_that_has_room_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that is cut short in the middle of a line, then none at all, then room again."""
    write, left = os.write, [60]

    def cramped(file: int, data: bytes) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(file, data[: left[0]])
        left[0] -= done
        return done

    loggers = [Tolerant(kind(directory=tmp_path), kind.__name__, print) for kind in (JSONL, CSV)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", cramped)
        for step in range(1, 6):
            for logger in loggers:
                logger.log(step, {"train/loss": 1 / step})
        assert left[0] <= 0, "the disk was never full"
        assert len(read_lines(tmp_path / "metrics.jsonl")) < 5
    for logger in loggers:
        logger.log(6, {"train/loss": 0.5})
        logger.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [1, 2, 3, 4, 5, 6]
    rows = (tmp_path / "metrics.csv").read_text().split()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4", "5", "6"]


def test_a_checkpoint_waits_for_the_lines_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is continued writes no line again that a checkpoint stands for: one that can't be written ends it."""

    def full(self: JSONL, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        if any(step == 16 for step, _ in lines):
            raise OSError(errno.ENOSPC, "No space left on device")
        log_all(self, lines)

    log_all, chosen = JSONL.log_all, ("steps_per_dispatch=1", "log_every=4")
    with monkeypatch.context() as patch:
        patch.setattr(JSONL, "log_all", full)  # `log` is one of these
        with pytest.raises(RunError, match=r"logger jsonl: OSError.*No space left on device; earlier checkpoints"):
            trained(monkeypatch, broken(None), tmp_path / "run", *chosen)
    assert saved(tmp_path / "run") == [10]
    trained(monkeypatch, broken(None), tmp_path / "run", *chosen)
    assert [line["step"] for line in metrics_of(tmp_path / "run") if "train/loss" in line] == list(range(4, 41, 4))


def test_metrics_that_vanish_are_noticed(tmp_path: Path) -> None:
    file = Appended(tmp_path / "lines")
    file.write("one\n")
    (tmp_path / "lines").unlink()
    with pytest.raises(FileNotFoundError):
        file.write("two\n")
    file.write("two\n")
    assert (tmp_path / "lines").read_text() == "two\n"


@pytest.mark.parametrize("torn", ["1", "12,0.", "12,0.25,9", "\0\0\0\0", "x,y,z,1,2"])
def test_half_a_row_of_a_table_is_no_row(torn: str, tmp_path: Path) -> None:
    """Cut after its first digit, the row of step 12 would be one of step 1."""
    logger = CSV(directory=tmp_path)
    for step in (1, 2):
        logger.log(step, {"train/loss": 1 / step})
    logger.close()
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write(torn)
    CSV(directory=tmp_path, resumed=20).close()
    rows = (tmp_path / "metrics.csv").read_text().split()
    assert rows == ["step,train/loss", "1,1.0", "2,0.5"]


def test_pictures_and_reports_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture is left out; without its result the run isn't finished, and says how to finish it."""
    full, asked = OSError(errno.ENOSPC, "No space left on device"), list[str]()

    def fails(*_: object, **__: object) -> None:
        asked.append("curves")
        raise full

    write = RunDirectory.write

    def writes(self: RunDirectory, name: str, text: str) -> None:
        if name == "result.json":
            asked.append(name)
            raise full
        write(self, name, text)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "curves", fails)
        patch.setattr(RunDirectory, "write", writes)
        with pytest.raises(RunError) as raised:
            trained(monkeypatch, broken(None), tmp_path / "run")
    assert asked == ["curves", "result.json"]
    assert str(raised.value) == (
        f"{tmp_path / 'run' / 'result.json'}: No space left on device\n"
        "  the last step is saved: make room, and type the same command again"
    )
    assert saved(tmp_path / "run")[-1] == 40
    assert trained(monkeypatch, broken(None), tmp_path / "run")["steps"] == 40
    assert (tmp_path / "run" / "result.json").is_file()


def test_a_run_directory_that_is_taken_away_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever took it has the checkpoints up to then; none is written where no config is."""
    run, log = tmp_path / "run", JSONL.log

    def taken(self: JSONL, step: int, scalars: Mapping[str, float]) -> None:
        if step == 16 and run.exists():
            wait_for(RunDirectory(run).saved)
            run.rename(tmp_path / "taken")
        log(self, step, scalars)

    monkeypatch.setattr(JSONL, "log", taken)
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(None), run, "steps_per_dispatch=1")
    assert str(raised.value) == f"run_dir: {str(run)!r} is gone; nothing of the run can be saved any more"
    assert saved(tmp_path / "taken") == [10]
    assert not RunDirectory(run).saved()


def test_a_lost_data_worker_ends_the_run_with_what_it_has_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's part is played by the same batches, until it is killed; then the run goes on from there."""
    lost = "data_workers: a worker process ended (killed, perhaps for memory)"

    def until_killed(source: Any, order: Any, *, start: int, **how: Any) -> Iterator[dict[str, np.ndarray]]:
        for step in range(start, 13):
            yield Batches(source, order)[step].arrays
        raise RunError(lost)

    chosen = ("placement=stream", "data_workers=2", "steps_per_dispatch=1", "eval_every=40", "checkpoint.every=40")
    monkeypatch.setattr(placement, "batches", until_killed)
    with pytest.raises(RunError) as raised:
        trained(monkeypatch, broken(None), tmp_path / "run", *chosen)
    assert str(raised.value) == lost
    assert saved(tmp_path / "run") == [13]
    monkeypatch.undo()
    assert trained(monkeypatch, broken(None), tmp_path / "run", *chosen, "data_workers=0")["steps"] == 40
    trained(monkeypatch, broken(None), tmp_path / "whole", *chosen, "data_workers=0")
    assert metrics_of(tmp_path / "run") == metrics_of(tmp_path / "whole")


def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(monkeypatch, broken(None), tmp_path / "plain", "logger=[jsonl,csv,tensorboard]")
    now, asked = [2e9], [0]

    def backwards() -> float:
        asked[0] += 1
        now[0] -= 3600.0
        return now[0]

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", backwards)
        result = trained(monkeypatch, broken(None), tmp_path / "run", "logger=[jsonl,csv,tensorboard]")
    assert asked[0], "nobody looked at the clock"
    assert metrics_of(tmp_path / "run") == metrics_of(tmp_path / "plain")
    assert min(result["seconds_by_part"].values()) >= 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert min(json.loads(line).get("examples_per_second", 1) for line in lines) > 0


def test_two_runs_of_the_same_second_have_directories_of_their_own(tmp_path: Path) -> None:
    """So has one that starts after the clock was set back to a second that another has had."""
    made = [RunDirectory.create(tmp_path / "20260101-000000", "{}", [], numbered=True).path.name for _ in range(3)]
    assert made == ["20260101-000000", "20260101-000000-2", "20260101-000000-3"]


def test_a_terminal_that_is_gone_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    console, calls = Console(), list[int]()

    def gone(*_: object, **__: object) -> None:
        calls.append(1)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(console.rich, "print", gone)
    console.say("one")
    assert calls
    assert console.rich.quiet


SLOW = '''
"""Digits that take their time."""

import dataclasses
import time

from bigtrain.data.digits import digits


class Slow:
    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, indices):
        time.sleep(0.05)
        return self.source[indices]


def slow():
    """The digits; each batch takes 50 ms."""
    made = digits()
    return dataclasses.replace(made, splits={**made.splits, "train": Slow(made.splits["train"])})
'''


@pytest.mark.long
def test_a_killed_data_worker(tmp_path: Path) -> None:
    """A real one, by the signal that the kernel sends when memory is short."""
    (tmp_path / "mydata.py").write_text(SLOW)
    run, where = tmp_path / "run", environment()
    arguments = (
        "fit", "data=digits", "data._target_=mydata.slow", "--trust", "mydata", "placement=stream", "data_workers=2",
        "steps=100000", "checkpoint.every=50000", "model.widths=[8]", "logger=jsonl", "log_every=1", f"run_dir={run}",
    )  # fmt: skip
    where["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    with subprocess.Popen(command(*arguments), env=where, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len(read_lines(run / "metrics.jsonl")) > 5)
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")  # a thread has started them
        children = [child for task in tasks for child in task.read_text().split()]
        victims = [child for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
        assert len(victims) == 2
        os.kill(int(victims[0]), signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: data_workers: a worker process ended (killed, perhaps for memory)\n" in err
    steps = saved(run)
    assert f"step {steps[0]:,} was saved before the run ends" in err
    assert [line["step"] for line in read_lines(run / "metrics.jsonl")] == list(range(1, steps[0] + 1))
