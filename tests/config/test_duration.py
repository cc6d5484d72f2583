"""Lengths of training in four units."""

from __future__ import annotations

import pytest

from bigtrain.config.duration import Duration, DurationError


@pytest.mark.parametrize(
    ("given", "amount", "unit"),
    [
        (2000, 2000, "steps"),
        (2000.0, 2000, "steps"),
        ("2_000", 2000, "steps"),
        ("2e3", 2000, "steps"),
        ("2000 steps", 2000, "steps"),
        ("1step", 1, "steps"),
        ("10epochs", 10, "epochs"),
        (" 0.5 epoch ", 0.5, "epochs"),
        ("1_000_000examples", 1_000_000, "examples"),
        ("1example", 1, "examples"),
        ("5%", 5, "percent"),
        ("2.5percent", 2.5, "percent"),
        ("0", 0, "steps"),
    ],
)
def test_read(given: object, amount: float, unit: str) -> None:
    found = Duration.parse(given)
    assert (found.amount, found.unit) == (amount, unit)
    assert Duration.parse(str(found)) == found
    assert Duration.parse(found) is found


@pytest.mark.parametrize(
    "given",
    ["", "abc", "-5", -5, "5 epoch s", "epochs", "1.5", 1.5, True, None, [5], "5parsecs", "1e999", float("nan"),
     float("inf"), "_5", "5%%", "0x10", "1 0", "5\n%\n5"],
)  # fmt: skip
def test_refused(given: object) -> None:
    with pytest.raises(DurationError):
        Duration.parse(given)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ("7", 7),
        ("2epochs", 20),  # 9.9 steps an epoch: 19.8, rounded up
        ("0.1epochs", 1),
        ("64examples", 1),
        ("65examples", 2),
        ("1example", 1),
        ("10%", 100),
        ("0.01%", 1),
        ("33.3%", 333),
        ("0%", 0),
    ],
)
def test_steps_are_rounded_up(given: str, steps: int) -> None:
    assert Duration.parse(given).steps(steps_per_epoch=9.9, batch_size=64, total=1000) == steps


def test_no_rounding_error_adds_a_step() -> None:
    """0.1 · 3 · 10 is 3.0000000000000004 in floating point."""
    assert Duration.parse("0.3epochs").steps(steps_per_epoch=10.000000000000002, batch_size=1) == 3
    assert Duration.parse("7%").steps(steps_per_epoch=1, batch_size=1, total=100) == 7


def test_percent_needs_a_total() -> None:
    with pytest.raises(DurationError):
        Duration.parse("5%").steps(steps_per_epoch=1, batch_size=1)
