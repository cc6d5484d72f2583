"""How members run at once is measured, and said."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from support import prepared

from bigtrain.config.errors import ConfigError
from bigtrain.sweep import strategy
from bigtrain.sweep.slots import Slots
from bigtrain.train.prepare import Prepared

SMALL = ("model.widths=[4]", "batch_size=16", "run_dir=unused")


@pytest.fixture(scope="module")
def ready() -> Prepared:
    return prepared(*SMALL, "steps=1000000", "mesh.data=1")[0]


@pytest.mark.parametrize(
    ("alone", "threads", "common", "members", "kind"),
    [
        (50e-6, 20e-6, 10e-6, 8, "vmap"),
        (50e-6, 20e-6, 19e-6, 8, "threads"),
        (50e-6, 48e-6, 49e-6, 8, "sequential"),
        (900e-6, 400e-6, None, 8, "threads"),  # long steps: a program of several members isn't tried
        (900e-6, 850e-6, None, 8, "sequential"),
    ],
)
def test_the_fastest_is_chosen(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch, alone: float, threads: float, common: float | None, members: int,
    kind: str,
) -> None:  # fmt: skip
    def slots(self: Slots, steps: int, rounds: int) -> float:
        assert common is not None
        return common

    monkeypatch.setattr(strategy, "seconds_a_step", lambda ready, number, steps: alone if number == 1 else threads)
    monkeypatch.setattr(Slots, "seconds_a_step", slots)
    monkeypatch.setattr(strategy, "cores", lambda: 2)
    found = strategy.choose(ready, members, "auto", None)
    assert found.kind == kind
    assert found.reason.startswith(f"measured, us a member's step: one after the other {alone * 1e6:,.0f}, 2 threads")


def test_one_measurement_that_was_disturbed_decides_nothing(ready: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = ((90e-5, 90e-5), (90e-5, 40e-5), (90e-5, 40e-5))
    taken = iter([1e-3, 1e-3, *itertools.chain(*rounds)])  # after the two that find how many steps to measure
    monkeypatch.setattr(strategy, "seconds_a_step", lambda *_: next(taken))
    monkeypatch.setattr(strategy, "cores", lambda: 2)
    assert strategy.choose(ready, 8, "auto", None).kind == "threads"


def test_few_steps_are_not_worth_another_program(ready: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy, "seconds_a_step", lambda *_: 50e-6)
    monkeypatch.setattr(Slots, "seconds_a_step", None)
    short = dataclasses.replace(ready, lengths=dataclasses.replace(ready.lengths, steps=100))
    assert strategy.choose(short, 8, "auto", None).kind == "sequential"


def test_all_three_are_really_measured(ready: Prepared) -> None:
    found = [
        strategy.seconds_a_step(ready, 1, 3),
        strategy.seconds_a_step(ready, 2, 3),
        Slots(ready, 3).seconds_a_step(3),
    ]
    assert all(0 < seconds < 10 for seconds in found)


def test_memory_limits_members(ready: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.plan.memory import Memory

    fits = Memory({"parameters": 10, "temporaries": 10, "batch": 40, "process": 100}, "training", 260, "a test")
    monkeypatch.setattr(strategy, "memory_of", lambda *_: fits)
    assert strategy.fitting(ready)[0] == int((0.8 * 260 - 140) / 20) == 3
    assert strategy.choose(ready, 8, "vmap", None).at_once == 3


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("placement=stream",), "the data is streamed"),
        (("mesh=fsdp", "mesh.fsdp=2", "model.widths=[64]"), "each member takes the whole mesh"),
    ],
)
def test_what_cannot_be_is_refused(typed: tuple[str, ...], told: str) -> None:
    other: Any = prepared(*SMALL, *typed)[0]
    with pytest.raises(ConfigError, match=told):
        strategy.choose(other, 4, "vmap", None)
    assert strategy.choose(other, 4, "auto", None).kind in ("sequential", "threads")


def test_one_at_a_time_when_asked(ready: Prepared) -> None:
    assert strategy.choose(ready, 4, "auto", 1) == strategy.Strategy("sequential", 1, "hydra.launcher.at_once")
    assert Path("unused").exists() is False
