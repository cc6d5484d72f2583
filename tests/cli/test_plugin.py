"""A user's own model: one Python file and one YAML file, named at the keyboard or in the user's own config folder."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import bigtrain, typed

MODEL = '''
"""A model of the user's own."""
from flax import nnx

from bigtrain.config.values import PositiveInt


class Tiny(nnx.Module):
    """One hidden layer.

    Args:
        width: units of the hidden layer.
    """

    def __init__(self, spec, *, width: PositiveInt = 4, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, width, rngs=rngs)
        self.last = nnx.Linear(width, len(spec.classes), rngs=rngs)

    def __call__(self, inputs):
        """Logits."""
        return self.last(nnx.relu(self.first(inputs.reshape(inputs.shape[0], -1))))
'''
QUICK = ("steps=3", "batch_size=16", "logger=jsonl", "run_dir=run", "model=tiny")


@pytest.fixture(autouse=True)
def _mine(workdir: Path) -> Iterator[None]:
    (workdir / "mymodels").mkdir()
    (workdir / "mymodels" / "__init__.py").write_text("")
    (workdir / "mymodels" / "tiny.py").write_text(MODEL)
    (workdir / "conf" / "model").mkdir(parents=True)
    (workdir / "conf" / "model" / "tiny.yaml").write_text("_target_: mymodels.tiny.Tiny\nwidth: 5\n")
    importlib.invalidate_caches()
    from bigtrain.config import signature

    yield
    signature.read.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "mymodels"]:
        del sys.modules[name]


def test_with_trust() -> None:
    done = bigtrain("fit", *QUICK, "--config-dir", "conf", "--trust", "mymodels", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["parameters"] == 64 * 5 + 5 + 5 * 10 + 10
    scored = typed("evaluate run --trust mymodels --json")
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["checkpoint"] == 3


def test_with_plugins_on_the_command_line() -> None:
    assert bigtrain("fit", *QUICK, "--config-dir", "conf", "plugins=[mymodels]", "model.width=3").code == 0


def test_with_plugins_in_the_users_folder(workdir: Path) -> None:
    (workdir / "conf" / "experiment").mkdir()
    recipe = "# @package _global_\ndefaults:\n  - override /model: tiny\nplugins: [mymodels]\n"
    (workdir / "conf" / "experiment" / "mine.yaml").write_text(recipe)
    done = bigtrain("fit", *QUICK[:-1], "--config-dir", "conf", "experiment=mine")
    assert done.code == 0, done.err
    refused = typed("evaluate run")
    assert refused.code == 2
    assert "if the code is yours, add --trust mymodels" in refused.err


def test_without_either() -> None:
    done = bigtrain("fit", *QUICK, "--config-dir", "conf")
    assert done.code == 2
    assert done.err == (
        "error: model._target_: 'mymodels.tiny.Tiny' may not be built\n"
        "  allowed: code of bigtrain, flax, optax\n"
        "  if the code is yours, add --trust mymodels\n"
    )


def test_its_fields_are_checked_and_listed() -> None:
    done = bigtrain("fit", *QUICK, "--config-dir", "conf", "--trust", "mymodels", "model.widht=3")
    assert done.err == "error: model.widht: Tiny has no 'widht'\n  allowed: width\n  did you mean model.width?\n"
    bad = bigtrain("fit", *QUICK, "--config-dir", "conf", "--trust", "mymodels", "model.width=0")
    assert bad.err == "error: model.width: 0 is not allowed\n  allowed: an integer at least 1\n"
