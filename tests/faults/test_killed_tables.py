"""`metrics.csv` of a run that was killed while it wrote a row: in the end it holds what `metrics.jsonl` holds."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.tables import lines_of, rows_of
from processes import environment
from support import run_fit

from bigtrain.run.directory import RunDirectory

RUN = (
    "model.widths=[8]", "batch_size=16", "steps=24", "log_every=2", "eval_every=4", "checkpoint.every=6",
    "checkpoint.keep=9", "steps_per_dispatch=1", "plan.check=off",
)  # fmt: skip
KILLED = """
import os, signal, sys, time
from pathlib import Path

write, step, run = os.write, sys.argv.pop(1), Path(sys.argv.pop(1))

def halfway(file, data):
    if data.startswith(f"{step},".encode()) and os.readlink(f"/proc/self/fd/{file}").endswith("metrics.csv"):
        until = time.monotonic() + 2.0  # for a checkpoint of that step, if one is under way
        while time.monotonic() < until and not (run / "checkpoints" / f"{int(step):09d}").is_dir():
            time.sleep(0.01)
        write(file, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, data)

os.write = halfway
from bigtrain.cli import main
sys.exit(main())
"""
"""`bigtrain …`, which kills itself when half of the row of a step is written."""


def killed_at(step: int, run: Path, *overrides: str) -> None:
    """A run that is killed in the middle of a row, and left so."""
    given = [sys.executable, "-c", KILLED, str(step), str(run), "fit", *overrides, f"run_dir={run}"]
    done = subprocess.run(given, env=environment(), capture_output=True, text=True, timeout=150)
    assert done.returncode == -signal.SIGKILL, done.stderr
    last = (run / "metrics.csv").read_bytes().splitlines(keepends=True)[-1]
    assert last.startswith(f"{step},".encode()), "the row that was being written"
    assert not last.endswith(b"\n"), "was cut"
    assert RunDirectory(run).saved(), "there is a checkpoint to go on from"


def without_the_clock(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "examples_per_second"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The rows of a run that is not killed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    run_fit(run, *RUN, "logger=[jsonl,csv]")
    assert rows_of(run) == lines_of(run)
    return without_the_clock(rows_of(run))


@pytest.mark.parametrize("logger", [pytest.param("csv", marks=pytest.mark.long), "[jsonl,csv]"])
@pytest.mark.parametrize("step", [12, pytest.param(14, marks=pytest.mark.long)])
def test_a_run_that_is_killed_in_the_middle_of_a_row(
    step: int, logger: str, whole: list[dict[str, str]], tmp_path: Path
) -> None:
    """That of a step which is saved, and the one after it."""
    run = tmp_path / "run"
    killed_at(step, run, *RUN, f"logger={logger}")
    went_on = RunDirectory(run).saved()[-1]
    assert went_on < step, "no checkpoint stands for a row that isn't there"
    run_fit(run, *RUN, f"logger={logger}")
    assert [int(row["step"]) for row in rows_of(run)] == list(range(2, 25, 2))
    assert without_the_clock(rows_of(run)) == whole
    if "jsonl" in logger:
        assert rows_of(run) == lines_of(run)


@pytest.mark.parametrize("kept", [0.0, 0.4], ids=["deleted", "cut"])
def test_rows_that_a_checkpoint_stands_for_and_that_are_lost(
    kept: float, whole: list[dict[str, str]], tmp_path: Path
) -> None:
    """They come from metrics.jsonl."""
    run = tmp_path / "run"
    killed_at(20, run, *RUN, "logger=[jsonl,csv]")
    content = (run / "metrics.csv").read_bytes()
    (run / "metrics.csv").unlink()
    if kept:
        (run / "metrics.csv").write_bytes(content[: int(kept * len(content))])
    there = len(rows_of(run)) if kept else 0
    assert 2 * there < RunDirectory(run).saved()[-1], "rows are lost"
    run_fit(run, *RUN, "logger=[jsonl,csv]")
    assert without_the_clock(rows_of(run)) == whole
    assert rows_of(run) == lines_of(run)
