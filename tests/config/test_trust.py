"""Which code a config may name, and what it may be used for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from bigtrain.config.build import build, resolve
from bigtrain.config.check import check_node
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import BUILTIN, Trust

MINE = '''
import subprocess
from shutil import rmtree
from bigtrain.models.mlp import MLP

class Wide(MLP):
    """A wide one."""

class Plain:
    """No model."""
    def __init__(self, x: int = 1): ...

class Log:
    """A logger."""
    def log(self, step, scalars): ...
    def close(self): ...

def silent(*, learning_rate: float):
    """Says nothing of what it returns."""
    import optax
    return optax.sgd(learning_rate)

def wrong(*, learning_rate: float) -> int:
    return 3

def fails(*, learning_rate: float):
    raise ValueError("no such rate")
'''


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trusted_pkg.py").write_text(MINE)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "trusted_pkg", raising=False)
    importlib.invalidate_caches()
    from bigtrain.config import signature

    signature.read.cache_clear()


def resolved(path: str, target: str, fields: dict | None = None) -> object:
    trusted = Trust.of(["trusted_pkg"])
    return resolve(check_node(path, {"_target_": target, **(fields or {})}, trusted), trusted)


def test_the_list() -> None:
    assert Trust().packages == set(BUILTIN) == {"bigtrain", "flax", "optax"}
    assert Trust.of(["trusted_pkg"]).packages == {*BUILTIN, "trusted_pkg"}
    assert Trust.of((), ["trusted_pkg"]).packages == {*BUILTIN, "trusted_pkg"}


def test_the_working_directory_comes_last() -> None:
    """A file there must not stand in for an installed module."""
    Trust.of(["trusted_pkg"])
    assert sys.path[-1] == ""


def test_what_may_be_built() -> None:
    assert resolved("model", "trusted_pkg.Wide").__name__ == "Wide"  # type: ignore[attr-defined]
    assert resolved("loggers.mine", "trusted_pkg.Log").__name__ == "Log"  # type: ignore[attr-defined]
    assert resolved("optimizer", "trusted_pkg.silent", {"learning_rate": 1.0})
    assert resolved("optimizer", "optax.adam", {"learning_rate": 1.0})
    assert resolved("task", "bigtrain.tasks.auto.auto")


@pytest.mark.parametrize(
    ("path", "target", "fields", "message"),
    [
        ("model", "trusted_pkg.Plain", {}, "can't be used here"),
        ("task", "trusted_pkg.Wide", {"rngs": 1}, "can't be used here"),
        ("loggers.mine", "trusted_pkg.Plain", {}, "can't be used here"),
        ("optimizer", "trusted_pkg.wrong", {"learning_rate": 1.0}, "-> int can't be used here"),
        ("optimizer", "optax.constant_schedule", {"value": 1.0}, "can't be used here"),
        ("data", "bigtrain.models.mlp.MLP", {"spec": 1, "rngs": 1}, "can't be used here"),
        ("model", "flax.io.rmtree", {"path": "x"}, "can't be used here"),
        ("model", "flax.io.copy", {"src": "x", "dst": "y"}, "can't be used here"),
        ("optimizer", "flax.io.remove", {"path": "x"}, "can't be used here"),
        ("model", "bigtrain.checkpoint.durable.write_durably", {"path": "x", "text": "y"}, "can't be used here"),
        ("model", "trusted_pkg.rmtree", {"path": "x"}, "may not be built: it is a function of shutil"),
        ("model", "trusted_pkg.subprocess.run", {}, "can't be found"),
        ("model", "shutil.rmtree", {"path": "x"}, "may not be built"),
        ("model", "os.system", {"command": "true"}, "may not be built"),
        ("model", "builtins.eval", {}, "may not be built"),
        ("model", "bigtrain.__import__", {}, "may not be built"),
    ],
)
def test_what_may_not(path: str, target: str, fields: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(path, target, fields)
    assert str(caught.value).startswith(f"{path}._target_: {target!r}")
    assert message in str(caught.value)


def test_an_error_of_the_callee_has_its_path() -> None:
    trusted = Trust.of(["trusted_pkg"])
    node = check_node("optimizer", {"_target_": "trusted_pkg.fails", "learning_rate": 1.0}, trusted)
    with pytest.raises(ConfigError) as caught:
        build(node, trusted)
    assert str(caught.value) == "optimizer: trusted_pkg.fails can't be built: no such rate"


def test_supplied_arguments_go_to_those_who_ask() -> None:
    node = check_node("optimizer", {"_target_": "optax.adam", "learning_rate": 1.0}, Trust())
    assert build(node, Trust(), mask=None, unheard_of=3) is not None


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="--trust: there is no package 'missing_pkg'"):
        Trust.of(["missing_pkg"])
    with pytest.raises(ConfigError, match=r"plugins: 'a\.b' is no package name"):
        Trust.of([], ["a.b"])
