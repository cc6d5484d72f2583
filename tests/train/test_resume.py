"""Where a run goes on when what it has saved is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import typed
from support import final_state, metrics_of, run_fit, state_hash

from bigtrain.checkpoint import Checkpoints
from bigtrain.run.directory import RunDirectory
from bigtrain.train.when import When

SMALL = ("model.widths=[8]", "batch_size=16", "logger=jsonl", "log_every=3", "eval_every=10", "checkpoint.best=false")
RUN = (*SMALL, "steps=40", "checkpoint.every=10", "checkpoint.keep=3")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("resume") / "whole"
    run_fit(run, *RUN)
    return run


@pytest.fixture
def stopped(whole: Path, tmp_path: Path) -> Path:
    """The same run as it was when it had come to step 30 and something, with checkpoints of 20 and 30."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints" / "000000040")
    return run


def flip(path: Path, at: int = -9) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)


def arrays(run: Path, step: int) -> Path:
    """The largest file of a checkpoint."""
    inside = (run / "checkpoints" / f"{step:09d}" / "arrays").rglob("*")
    return max((path for path in inside if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_damaged_newest_one_is_named_and_the_one_before_is_taken(stopped: Path, whole: Path) -> None:
    damaged = arrays(stopped, 30)
    flip(damaged)
    done = typed(f"fit run_dir={stopped}")
    assert done.code == 0, done.err
    assert f"warning: checkpoint of step 30: {damaged}: is damaged: its content is not what was saved\n" in done.err
    assert "going on from step 20, the newest that is intact\n" in done.err
    assert metrics_of(stopped) == metrics_of(whole)
    assert state_hash(final_state(stopped, *RUN)) == state_hash(final_state(whole, *RUN))
    assert RunDirectory(stopped).saved() == [20, 30, 40]
    assert not list((stopped / "checkpoints").glob("*.damaged")), "the run has passed that step again"


def test_a_damaged_one_that_is_asked_for_is_refused(stopped: Path) -> None:
    for folder in (20, 30):
        flip(stopped / "checkpoints" / f"{folder:09d}" / "arrays" / "manifest.ocdbt", 3)
        for wanted in (str(folder), "last"):
            refused = typed(f"evaluate {stopped} --checkpoint {wanted if folder == 30 else folder}")
            where = stopped / "checkpoints" / f"{folder:09d}" / "arrays" / "manifest.ocdbt"
            assert refused.code == 2
            assert refused.err == f"error: {where}: is damaged: its content is not what was saved\n"


def test_the_best_one_is_not_guessed(stopped: Path) -> None:
    flip(stopped / "checkpoints" / "000000020" / "meta.json")
    refused = typed(f"evaluate {stopped} --checkpoint best")
    assert refused.code == 2
    assert "000000020/meta.json: is damaged: " in refused.err
    assert refused.err.count("\n") == 1


def test_nothing_begins_anew_when_all_are_damaged(stopped: Path) -> None:
    for step in (20, 30):
        arrays(stopped, step).unlink()
    before = (stopped / "metrics.jsonl").read_text()
    refused = typed(f"fit run_dir={stopped}")
    assert refused.code == 2
    last = refused.err[refused.err.index("error: ") :].splitlines()
    assert last[0] == f"error: {stopped}/checkpoints: no checkpoint is intact"
    assert [line.endswith("is missing") for line in last[1:3]] == [True, True]
    assert last[3].startswith("  bring one back from a copy; or delete them all")
    assert (stopped / "metrics.jsonl").read_text() == before
    assert RunDirectory(stopped).saved() == [20, 30]


def test_a_line_that_was_cut_by_a_kill_is_written_again(stopped: Path, whole: Path) -> None:
    lines = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    cut = next(number for number, line in enumerate(lines) if json.loads(line)["step"] > 30)
    (stopped / "metrics.jsonl").write_text("".join(lines[:cut]) + lines[cut][:25])
    run_fit(stopped, *RUN)
    assert metrics_of(stopped) == metrics_of(whole)
    assert (stopped / "metrics.jsonl").read_text().endswith("}\n")


def test_saves_by_the_clock() -> None:
    now = [0.0]
    when = When(10, None, 2.0, last=40, now=lambda: now[0])
    assert not when.passed()
    now[0] = 119.0
    assert not when.passed()
    now[0] = 121.0
    assert when.passed()
    when.saved()
    assert not when.passed()
    assert [when.after(step) for step in (0, 9, 10)] == [10, 10, 20]
    assert [when.due(step) for step in (10, 13, 40)] == [True, False, True]
    assert [When(10, 4).after(step) for step in (0, 4, 8, 10)] == [4, 8, 10, 12]


def test_saves_that_are_a_share_of_the_run_are_apart() -> None:
    now = [0.0]
    when = When(10, 25, last=60, apart=1.0, now=lambda: now[0])
    now[0] = 0.9
    assert [when.due(step) for step in (10, 25, 60)] == [False, True, True], "what is asked for by its step is saved"
    now[0] = 1.0
    assert when.due(20)
    when.saved()
    assert not when.due(30)
    now[0] = 2.5
    assert when.due(30)


def test_only_a_share_of_the_run_is_apart(tmp_path: Path) -> None:
    chosen = (*SMALL, "steps=40", "checkpoint.keep=9")
    run_fit(tmp_path / "steps", *chosen, "checkpoint.every=10")
    assert RunDirectory(tmp_path / "steps").saved() == [10, 20, 30, 40]
    run_fit(tmp_path / "share", *chosen, "checkpoint.every=25%")
    assert len(RunDirectory(tmp_path / "share").saved()) < 4
    states = [Checkpoints(tmp_path / name / "checkpoints").meta(40)["state"] for name in ("steps", "share")]
    assert states[0] == states[1]


@pytest.mark.parametrize(("every", "said"), [("10%", "save 20 (at least 1 s apart), log"), ("20", "save 20, log")])
def test_the_summary_says_whether_saves_are_apart(every: str, said: str) -> None:
    found = typed(f"fit --dry-run steps=200 checkpoint.every={every}")
    assert said in found.out + found.err


def test_the_best_state_of_a_second_is_saved_with_the_next(tmp_path: Path) -> None:
    """The greatest loss is taken for the best: that of the first evaluation."""
    plain = tuple(word for word in SMALL if word != "checkpoint.best=false")
    chosen = (*plain, "steps=40", "checkpoint.mode=max")
    found = {}
    for name, every in (("steps", "10"), ("share", "25%")):
        result = run_fit(tmp_path / name, *chosen, f"checkpoint.every={every}")
        found[name] = result["best"]
        assert RunDirectory(tmp_path / name).saved() == [10, 40]
    assert found["steps"] == found["share"]
    assert found["steps"]["step"] == 10


def test_the_clock_saves_a_run_between_its_steps(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the run changes; here the time is over after each dispatch."""
    often = (*SMALL, "steps=40", "checkpoint.every=40", "checkpoint.keep=99", "steps_per_dispatch=3")
    run_fit(tmp_path / "run", *often, "checkpoint.minutes=0.0000001")
    saved = RunDirectory(tmp_path / "run").saved()
    assert len(saved) > 10
    assert metrics_of(tmp_path / "run") == metrics_of(whole)
    whole_hash, here = (Checkpoints(run / "checkpoints").meta(40)["state"] for run in (whole, tmp_path / "run"))
    assert whole_hash == here


def test_of_several_processes_process_0_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.parallel import distributed

    class Two:
        count = 2

        def __init__(self) -> None:
            self.asked = 0

        def shared(self, name: str, make: object) -> bool:
            self.asked += 1
            return self.asked == 2

    two = Two()
    monkeypatch.setattr(distributed, "_current", two)
    when = When(10, None, 5.0, agreed=4, last=40)
    assert [when.after(step) for step in (0, 4, 8, 10)] == [4, 8, 10, 12]
    assert not when.passed(), "no process decides by its own clock"
    assert [when.due(step) for step in (4, 8, 10, 12)] == [False, True, True, False]
    assert two.asked == 3, "where a save is due anyway nobody is asked"


def test_kept_every_so_many_steps(tmp_path: Path) -> None:
    run_fit(tmp_path / "run", *SMALL, "steps=30", "checkpoint.every=20", "checkpoint.keep_every=12")
    assert RunDirectory(tmp_path / "run").saved() == [12, 24, 30]
    refused = typed("fit checkpoint.keep_every=0")
    assert refused.err.startswith("error: checkpoint.keep_every: 0 is not allowed\n  allowed: at least 1 step")
