"""How a run is cut into dispatches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bigtrain.data.placement import Dispatch
from bigtrain.metrics import Mean
from bigtrain.run.clock import Clock
from bigtrain.train.hooks import Periodic as Every
from bigtrain.train.hooks import Show
from bigtrain.train.log import Log
from bigtrain.train.loop import dispatches
from bigtrain.train.pace import Pace


def test_no_dispatch_runs_past_a_hook() -> None:
    cut = list(dispatches(0, 50, [Every(20), Every(7)], Pace(16, fixed=True)))
    ends = {dispatch.step + dispatch.number for dispatch in cut}
    assert {7, 14, 20, 21, 28, 35, 40, 42, 49, 50} <= ends
    assert max(dispatch.number for dispatch in cut) <= 16
    assert sum(dispatch.number for dispatch in cut) == 50
    assert [dispatch.step for dispatch in cut[1:]] == [d.step + d.number for d in cut[:-1]]


def test_a_resumed_run_meets_the_same_boundaries() -> None:
    whole = {d.step + d.number for d in dispatches(0, 60, [Every(13)], Pace(64, fixed=True))}
    resumed = {d.step + d.number for d in dispatches(17, 60, [Every(13)], Pace(64, fixed=True))}
    assert resumed == {end for end in whole if end > 17}


def test_nothing_is_left_of_a_finished_run() -> None:
    assert list(dispatches(50, 50, [Every(10)], Pace(8))) == []


def test_pace_doubles_while_steps_are_short_and_falls_when_they_are_long() -> None:
    pace = Pace(64)
    assert pace.steps == 1
    for wanted in (2, 4, 8, 16, 32, 64, 64):
        pace._adapt(1e-4)
        assert pace.steps == wanted
    pace._adapt(0.02)
    assert pace.steps == 5
    pace._adapt(3.0)
    assert pace.steps == 1


@pytest.mark.parametrize(("seconds", "steps"), [(0.01, 10), (0.02, 8), (0.1, 8), (0.3, 6), (0.9, 2), (3.0, 1)])
def test_slow_steps_are_put_together_for_up_to_two_seconds(seconds: float, steps: int) -> None:
    pace = Pace(64, together=True)
    pace.steps = 64
    pace._adapt(seconds)
    assert pace.steps == steps


def test_a_gpu_s_calls_are_longer() -> None:
    for platform, steps, slow in (("cpu", 100, 8), ("gpu", 250, 8), ("tpu", 100, 1)):
        pace = Pace.of(platform, 4096)
        pace.steps = 4096
        pace._adapt(1e-3)
        assert pace.steps == steps
        pace._adapt(0.15)
        assert pace.steps == slow


def test_a_slow_step_decides_at_once() -> None:
    pace = Pace(64, together=True)
    pace._adapt(0.1)
    assert pace.steps == 8


def test_a_fixed_pace_stays() -> None:
    pace = Pace(8, fixed=True)
    pace.launched(Dispatch(0, 8), 0)
    pace.launched(Dispatch(8, 8), 0)
    assert pace.steps == 8


@pytest.mark.parametrize("at_once", [True, False])
def test_a_step_s_time_is_that_of_the_call_it_was_in(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of 1, 2, 4, … steps of 10 ms each, that return when they are done or when the one before is."""
    now = [0.0]
    monkeypatch.setattr("bigtrain.train.pace.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("bigtrain.train.pace.is_done", lambda results: at_once)
    pace = Pace(1024)
    seen: list[float] = []
    adapt = pace._adapt
    monkeypatch.setattr(pace, "_adapt", lambda seconds: (seen.append(seconds), adapt(seconds)))
    step, before = 0, 0
    for _ in range(6):
        number = pace.steps
        now[0] += 0.01 * (number if at_once else before)
        pace.launched(Dispatch(step, number), 0)
        step, before = step + number, number
    assert len(seen) == (6 if at_once else 5)
    assert seen == pytest.approx([0.01] * len(seen))
    assert pace.steps == 10


@pytest.mark.parametrize("in_calls", [True, False])
def test_a_call_that_went_to_a_thread_is_waited_for_where_calls_compute(
    in_calls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next would find its state not there yet, and go to a thread as well."""
    waited: list[str | None] = []
    monkeypatch.setattr("bigtrain.train.pace.jax.block_until_ready", waited.append)
    monkeypatch.setattr("bigtrain.train.pace.is_done", lambda results: results in waited)
    pace = Pace(4, in_calls=in_calls)
    pace.launched(Dispatch(0, 1), "first")
    pace.launched(Dispatch(1, 1), "second")
    assert [call for call in waited if call] == (["first", "second"] if in_calls else ["first"])
    assert (pace._pending is None) == in_calls


def test_only_cpu_devices_compute_in_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for inside in (True, False):
        monkeypatch.setattr("bigtrain.train.pace.computes_in_calls", lambda inside=inside: inside)
        assert Pace.of("cpu", 8).in_calls is inside
        assert not Pace.of("gpu", 8).in_calls


def test_samples_are_compiled_where_what_steps_keep_has_gone_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the compiler leaves goes back, whatever becomes of the samples; later ones are not compiled."""
    done: list[str] = []
    monkeypatch.setattr("bigtrain.parallel.allocator.give_back", lambda: done.append("back"))
    log = Log(2, [], 1, 1.0, Clock())

    def draw(step: int, state: object) -> None:
        done.append(f"draw {step}")
        raise OSError("the disk is full")

    show = Show(2, draw, log, lambda text, style="": None)
    for step in (2, 4):
        show(step, None)  # type: ignore[arg-type]
    assert done == ["back", "draw 2", "back", "draw 4"]


def test_a_line_is_written_as_soon_as_its_numbers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[int] = []
    kept = SimpleNamespace(log=lambda step, scalars: lines.append(step))
    log = Log(2, [kept], 1, 1.0, Clock())  # type: ignore[list-item]
    one = {"loss": Mean(np.ones(2, np.float32), np.ones(2, np.float32))}
    for begin, done, written in ((0, False, []), (2, False, [2]), (4, True, [2, 4, 6]), (6, True, [2, 4, 6, 8])):
        monkeypatch.setattr("bigtrain.train.log.is_done", lambda results, done=done: done)
        log.record(Dispatch(begin, 2), one, None)  # type: ignore[arg-type]
        assert lines == written


@pytest.mark.parametrize("at_once", [True, False])
def test_the_last_steps_get_a_line_whenever_the_lines_before_were_written(
    at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: dict[int, float] = {}
    kept = SimpleNamespace(log=lambda step, scalars: lines.update({step: scalars["examples_per_second"]}))
    log = Log(3, [kept], 1, 1.0, Clock())  # type: ignore[list-item]
    with log.clock.part("step"):
        monkeypatch.setattr("bigtrain.train.log.is_done", lambda results: at_once)
        five = {"loss": Mean(np.ones(5, np.float32), np.ones(5, np.float32))}
        log.record(Dispatch(0, 5), five, None)  # type: ignore[arg-type]
        log(5, None)  # type: ignore[arg-type]
        log.flush()
        log.flush()
    assert list(lines) == [3, 5]
    assert lines[3] == lines[5] > 0
