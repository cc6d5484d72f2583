"""Which arguments enter the compiled program as numbers."""

from __future__ import annotations

from bigtrain.config import numbers
from bigtrain.config.check import Checked, Node, check
from bigtrain.config.compose import compose
from bigtrain.config.duration import Duration
from bigtrain.config.trust import Trust


def checked(*overrides: str) -> Checked:
    return check(compose(list(overrides)).resolved, Trust())


def steps(duration: Duration) -> int:
    return {"epochs": 100, "percent": 10, "steps": 1}[duration.unit] * int(duration.amount)


def numbers_of(node: Node) -> dict[str, float]:
    return numbers.of(node, steps)


def test_real_numbers_are_numbers() -> None:
    found = numbers_of(checked("optimizer.b1=0.8").nodes["optimizer"])
    assert found == {"optimizer.learning_rate": 1e-3, "optimizer.b1": 0.8}
    assert all(isinstance(value, float) for value in found.values())


def test_integers_and_switches_stay_constants() -> None:
    assert "optimizer.nesterov" not in numbers_of(checked("optimizer=nadam").nodes["optimizer"])
    assert numbers_of(checked("model.widths=[3]").nodes["model"]) == {"model.dropout": 0.0}


def test_an_integer_for_a_real_number_is_one() -> None:
    assert numbers_of(checked("optimizer.learning_rate=1").nodes["optimizer"])["optimizer.learning_rate"] == 1.0


def test_durations_are_converted_with_their_defaults() -> None:
    given = checked("schedule=wsd", "schedule.warmup=2epochs", "schedule.decay=5%")
    assert numbers_of(given.nodes["schedule"]) == {
        "schedule.warmup": 200.0, "schedule.decay": 50.0, "schedule.end": 0.0
    }  # fmt: skip
    bare = checked("schedule=wsd", "~schedule.decay")
    assert numbers_of(bare.nodes["schedule"])["schedule.decay"] == 200.0


def test_fill_replaces_only_its_own() -> None:
    node = checked().nodes["optimizer"]
    filled = numbers.fill(node, {"optimizer.learning_rate": 7.0, "model.dropout": 0.5, "optimizerx.b": 1.0})
    assert filled.arguments == {**node.arguments, "learning_rate": 7.0}
    assert node.arguments["learning_rate"] == 1e-3
    assert numbers.fill(node, {}) == node
