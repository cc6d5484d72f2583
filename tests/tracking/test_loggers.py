"""What the loggers leave on disk, also when a run is continued."""

from __future__ import annotations

import csv
import itertools
import json
import struct
from pathlib import Path

import pytest

from bigtrain.config.errors import RunError
from bigtrain.run.history import read_lines
from bigtrain.tracking.append import Appended
from bigtrain.tracking.console import Console, clock
from bigtrain.tracking.csv import CSV
from bigtrain.tracking.jsonl import JSONL
from bigtrain.tracking.logger import Tolerant
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


LINES = [
    (1, {"train/loss": 2.0}), (2, {"train/loss": 1.0}), (2, {"validation/loss": 1.5}), (3, {"train/loss": 0.5}),
    (4, {"train/loss": 0.25, "skipped": 1.0}), (5, {"train/loss": 0.125}),
]  # fmt: skip


@pytest.mark.parametrize("made", [JSONL, CSV])
@pytest.mark.parametrize("cuts", [(), (1,), (2,), (3,), (4,), (2, 3), (1, 5)])
def test_lines_that_are_handed_over_together_are_those_one_by_one(
    made: type[JSONL] | type[CSV], cuts: tuple[int, ...], tmp_path: Path
) -> None:
    found = []
    for name, ends in (("one", range(1, len(LINES))), ("several", cuts)):
        folder = tmp_path / name
        folder.mkdir()
        logger = made(directory=folder)
        for first, last in itertools.pairwise([0, *ends, len(LINES)]):
            logger.log_all(LINES[first:last])
        logger.close()
        found.append({path.name: path.read_text() for path in folder.iterdir()})
    assert found[0] == found[1]


def test_csv_row_of_the_step_that_a_run_continues_from_may_grow(tmp_path: Path) -> None:
    """It is in the file already, and must not be there twice."""
    first = CSV(directory=tmp_path)
    first.log(1, {"loss": 1.0})
    first.log(2, {"loss": 2.0, "accuracy": 0.5})
    first.settle()  # and is killed
    again = CSV(directory=tmp_path, resumed=2)
    again.log(2, {"accuracy": 0.75})
    again.log(3, {"loss": 3.0})
    again.close()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,loss,accuracy",
        "1,1.0,",
        "2,2.0,0.75",
        "3,3.0,",
    ]


def test_held_lines_are_written_before_a_checkpoint_and_at_the_end(tmp_path: Path) -> None:
    logger = Tolerant(JSONL(directory=tmp_path), "jsonl", lambda text: None, hold=1000.0)
    for step, scalars in LINES:
        logger.log(step, scalars)
        if step == 3:
            assert read_lines(tmp_path / "metrics.jsonl") == []
            logger.insist()
            assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 2, 3]
    logger.close()
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 2, 3, 4, 5]


def test_held_lines_that_could_not_be_written_are_written_later_and_once(tmp_path: Path) -> None:
    logger = Tolerant(CSV(directory=tmp_path), "csv", lambda text: None, hold=1000.0)
    for step in range(1, 4):
        logger.log(step, {"train/loss": float(step)})
    logger.insist()
    for step in range(4, 7):
        logger.log(step, {"train/loss": float(step)})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Appended, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(RunError, match="No space left"):
            logger.insist()
    logger.close()
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5", "6"]


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
