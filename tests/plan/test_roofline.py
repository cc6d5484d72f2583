"""The roofline against sums worked out by hand."""

from __future__ import annotations

import pytest

from bigtrain.plan.collectives import Collective
from bigtrain.plan.roofline import Speeds, Traffic, roofline, seconds, traffic

SPEEDS = Speeds(flops=8e12, memory=1e12, link=100e9, network=10e9, source="made up")
NODES = [0, 0, 0, 0, 1, 1, 1, 1]


def sent(kind: str, groups: tuple, size: float) -> Collective:
    return Collective(kind, "a", len(groups[0]), 1, size, groups)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("all-reduce", 2 * 4e9 * 3 / 4 / 100e9),
        ("all-gather", 4e9 * 3 / 4 / 100e9),
        ("reduce-scatter", 4e9 * 3 / 4 / 100e9),
        ("all-to-all", 4e9 * 3 / 4 / 100e9),
        ("collective-permute", 4e9 / 100e9),
    ],
)
def test_a_ring_inside_a_node(kind: str, expected: float) -> None:
    assert seconds(sent(kind, ((0, 1, 2, 3), (4, 5, 6, 7)), 4e9), NODES, SPEEDS) == pytest.approx(expected)


def test_between_nodes_each_member_has_an_adapter() -> None:
    alone = seconds(sent("all-gather", ((0, 4), (1, 5)), 1e9), NODES, SPEEDS)
    assert alone == pytest.approx(1e9 / 2 / 10e9)
    together = seconds(sent("all-gather", ((0, 1, 4, 5),), 1e9), NODES, SPEEDS)
    assert together == pytest.approx(1e9 * 3 / 4 / 20e9)


def test_the_slowest_decides_and_bounds_the_mfu() -> None:
    found = roofline(4e12, 6e12, 0.5e12, [sent("all-reduce", ((0, 1, 2, 3), (4, 5, 6, 7)), 10e9)], NODES, SPEEDS)
    assert found.compute == pytest.approx(6e12 / 8e12)
    assert found.memory == pytest.approx(0.5)
    assert found.network == {"a": pytest.approx(0.15)}
    assert (found.seconds, found.bound) == (pytest.approx(0.75), "compute")
    assert found.serial_seconds == pytest.approx(1.4)
    assert found.mfu_bound == pytest.approx(4e12 / 8e12 / 0.75)


def test_traffic_of_a_step() -> None:
    kept = Traffic(weights=800, state=300, gradients=100)
    # products shared by 8 devices; whole weights of a tensor group of 2, but for what the products counted
    assert traffic(1600, 3, kept, 8, 2) == pytest.approx(1600 / 8 + 3 * 400 * (1 - 2 / 8) + 2 * 300 + 2 * 100)
    assert traffic(1600, 2, kept, 1, 1) == pytest.approx(1600 + 0 + 600 + 200)
