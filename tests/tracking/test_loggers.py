"""What the loggers leave on disk, also when a run is continued."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import pytest

from bigtrain.run.history import read_lines
from bigtrain.tracking.console import Console, clock
from bigtrain.tracking.csv import CSV
from bigtrain.tracking.jsonl import JSONL
from bigtrain.tracking.tensorboard import TensorBoard


def test_jsonl_drops_what_will_be_written_again_and_a_torn_line(tmp_path: Path) -> None:
    logger = JSONL(directory=tmp_path)
    for step in (1, 2, 3, 4):
        logger.log(step, {"train/loss": 1 / step})
    logger.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "train/lo')
    again = JSONL(directory=tmp_path, resumed=2)
    again.log(3, {"train/loss": 7.0})
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["train/loss"]) for line in lines] == [(1, 1.0), (2, 0.5), (3, 7.0)]


def test_jsonl_of_a_new_run_starts_empty(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    JSONL(directory=tmp_path).close()
    assert read_lines(tmp_path / "metrics.jsonl") == []


def test_csv_is_one_table_with_a_row_a_step(tmp_path: Path) -> None:
    logger = CSV(directory=tmp_path)
    logger.log(1, {"train/loss": 2.0})
    logger.log(2, {"train/loss": 1.0})
    logger.log(2, {"validation/loss": 1.5})
    logger.close()
    again = CSV(directory=tmp_path, resumed=1)
    again.log(2, {"train/loss": 9.0})
    again.close()
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["train/loss"]) for row in rows] == [("1", "2.0"), ("2", "9.0")]


def test_tensorboard_files_hold_every_scalar_also_after_reopening_within_a_second(tmp_path: Path) -> None:
    for start in (0, 5):
        logger = TensorBoard(directory=tmp_path, resumed=start or None)
        for step in range(start + 1, start + 6):
            logger.log(step, {"train/loss": float(step), "epoch": step / 10})
        logger.close()
    found = sorted(
        (step, tag, value) for path in (tmp_path / "tensorboard").iterdir() for step, tag, value in scalars(path)
    )
    assert [(step, value) for step, tag, value in found if tag == "train/loss"] == [(n, float(n)) for n in range(1, 11)]


def scalars(path: Path) -> list[tuple[int, str, float]]:
    """The scalars of an event file: TFRecord framing, one Event message a record."""
    from tensorboardX.proto.event_pb2 import Event

    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        at += 12 + length + 4
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


def test_console_says_evaluations_on_stderr_as_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.begin(0, 1000)
    console.log(100, {"train/loss": 0.5})
    console.log(100, {"validation/loss": 0.25, "validation/accuracy": 0.75})
    console.advance(100)
    console.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "step   100  train loss 0.5  validation loss 0.25  validation accuracy 0.75\n"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Console().rich.color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert Console().rich.no_color


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65, "1:05"), (3661, "1:01:01")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
