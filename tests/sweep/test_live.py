"""What is seen while a sweep runs."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from made_sweep import LOSS
from rich.console import Console as RichConsole

from bigtrain.sweep import live
from bigtrain.sweep.live import Live
from bigtrain.sweep.trial import Trial
from bigtrain.tracking.console import Console

WAITING = [Trial(at, {"optimizer.learning_rate": f"1e-{at}", "model.widths": "[64,64]"}, str(at)) for at in range(20)]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: a list of one number."""
    time = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: time[0])
    return time


def _ended(number: int, score: float, state: str = "done") -> Trial:
    return replace(WAITING[number], state=state, scores={1.0: (score,)}, steps=100)  # type: ignore[arg-type]


def test_lines_where_there_is_no_terminal(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown, trials = Live(Console(), (LOSS,), 20), list(WAITING)
    for at in range(4):  # one ends every two seconds
        shown.update(trials)
        now[0] += 2
        trials[at] = _ended(at, 1 - at / 10)
        trials[at + 1] = replace(trials[at + 1], state="running")
        shown.update(trials)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "1/20 done, 1 running  best: trial 0  loss 1  optimizer.learning_rate=1e-0  model.widths=[64,64]  ETA 0:38",
        "4/20 done, 1 running  best: trial 3  loss 0.7  optimizer.learning_rate=1e-3  model.widths=[64,64]  ETA 0:32",
    ]
    shown.update(trials)
    shown.close()
    assert capsys.readouterr().err == ""  # nothing ended since


def test_the_last_line_is_never_left_out(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = Live(Console(), (LOSS,), 2)
    shown.update(WAITING[:2])
    for trials in ([_ended(0, 2.0), WAITING[1]], [_ended(0, 2.0), _ended(1, 3.0, "failed")]):
        now[0] += 1
        shown.update(trials)
    shown.close()
    assert [line.split("  ")[0] for line in capsys.readouterr().err.splitlines()] == ["1/2 done", "1/2 done, 1 failed"]


def test_what_had_ended_before_counts_for_no_estimate(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    trials = [_ended(at, 1.0) if at < 10 else WAITING[at] for at in range(20)]
    shown = Live(Console(), (LOSS,), 20)
    shown.update(trials)
    now[0] += 60
    shown.update([*trials[:10], _ended(10, 2.0), *trials[11:]])
    assert capsys.readouterr().err.rstrip().endswith("ETA 9:00")


def test_a_table_on_a_terminal(now: list[float]) -> None:
    console, text = Console(), io.StringIO()
    console.rich, console.live = RichConsole(file=text, force_terminal=True, width=80, color_system=None), True
    shown = Live(console, (LOSS,), 20)
    running = [replace(trial, state="running", steps=40, scores={0.4: (0.8,)}) for trial in WAITING[2:14]]
    shown.update([_ended(0, 0.5), _ended(1, 0.25, "pruned"), *running, *WAITING[14:]])
    table = text.getvalue()
    shown.close()
    assert "1/20 done, 12 running, 1 pruned" in table
    assert "best: trial 0  loss 0.5" in table
    assert "trial 2  step 40 (40%)  loss 0.8  optimizer.learning_rate=1e-2" in table
    assert "and 4 more running" in table
    assert max(map(len, table.splitlines())) <= 80
