"""The check of a composed config; the exact answers to mistakes are in tests/cli/mistakes.txt."""

from __future__ import annotations

from typing import Any

import pytest

from bigtrain.config.check import Checked, check
from bigtrain.config.compose import compose
from bigtrain.config.duration import Duration
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust


def checked(*overrides: str) -> Checked:
    return check(compose(overrides).resolved, Trust())


def changed(**values: Any) -> Checked:
    return check({**compose([]).resolved, **values}, Trust())


def test_values_are_converted() -> None:
    found = checked("steps=10epochs", "ema=0", "freeze=[a*]", "mesh.data=-1", "model.widths=[3]", "checkpoint.keep=2")
    assert found.run.duration("steps") == Duration(10, "epochs")
    assert (found.run.ema, found.run.freeze, found.run.mesh.data) == (0.0, ("a*",), -1)
    assert found.run.checkpoint.keep == 2
    assert found.nodes["model"].arguments["widths"] == (3,)
    assert found.loggers["jsonl"].path == "loggers.jsonl"


def test_null_where_it_is_the_default() -> None:
    assert checked("clip_norm=null").run.clip_norm is None
    assert checked("data=npz", "data.path=null").nodes["data"].arguments["path"] is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loggers": [1]}, "loggers: [1] is no table\n  choose with logger=[…]: bigtrain configs logger"),
        ({"loggers": {"a": None}}, "loggers.a: needs a component with a _target_"),
        ({"mesh": None}, "mesh: None is no table"),
        ({"model": None}, "model: needs a component with a _target_"),
        ({"model": {"_target_": ["os.system"]}}, "model: needs a component with a _target_"),
        ({"model": {"_target_": "bigtrain.models.mlp.MLP", 3: 4}}, "model.3: MLP has no '3'"),
        ({3: 4}, "3: the run has no such key"),
        ({"checkpoint": {3: 4}}, "checkpoint.3: checkpoint has no such key"),
        ({"plugins": [3.5, None]}, "plugins: [3.5, None] is not allowed"),
        ({"data": {"_target_": "bigtrain.data.npz.npz", "path": {"a": 1}}}, "data.path: {'a': 1} is not allowed"),
        ({"model": {"_target_": "bigtrain..MLP"}}, "model._target_: 'bigtrain..MLP' may not be built"),
        ({"model": {"_target_": ""}}, "model._target_: '' may not be built"),
    ],
)
def test_strange_values(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check({**compose([]).resolved, **values}, Trust())
    assert str(caught.value).startswith(message)


def test_required_fields() -> None:
    with pytest.raises(ConfigError) as caught:
        checked("~optimizer.learning_rate")
    assert str(caught.value) == "optimizer.learning_rate: is required\n  allowed: a number"
