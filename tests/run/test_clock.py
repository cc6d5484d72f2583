"""The clock charges every second to one part, by a time that the test sets."""

from __future__ import annotations

import time

import pytest

from bigtrain.run.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that began at 0, and on which `wait` passes the time."""
    monkeypatch.setattr(time, "perf_counter", lambda: NOW[0])
    NOW[0] = 0.0
    return Clock()


NOW = [0.0]


def wait(seconds: float) -> None:
    NOW[0] += seconds


def test_an_inner_part_is_taken_out_of_the_outer(clock: Clock) -> None:
    wait(1)
    with clock.part("step"):
        wait(2)
        with clock.part("logging"):
            wait(4)
        wait(8)
    wait(16)
    assert clock.spent() == {"start": 17, "step": 10, "logging": 4}
    assert clock.training() == 14


def test_a_part_ends_with_an_error(clock: Clock) -> None:
    def fails() -> None:
        with clock.part("evaluation"):
            wait(1)
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fails()
    wait(2)
    assert clock.spent() == {"evaluation": 1, "start": 2}


def test_waiting_for_items_is_apart_from_using_them(clock: Clock) -> None:
    def items():
        for item in range(3):
            wait(1)
            yield item
        wait(5)

    with clock.part("step"):
        for item in clock.each("data wait", items()):
            wait(10 * item)
    assert clock.spent() == {"start": 0, "step": 30, "data wait": 8}
