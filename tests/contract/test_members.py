"""What every YAML of every group must satisfy; a new one is found by being there."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from partners import partners
from support import begun, losses_of, lowered, run_fit, state_hash

from bigtrain.config import groups
from bigtrain.inference.load import load
from bigtrain.models.split import split

GROUPS = groups.groups(groups.search_dirs())
LARGE = (
    "cnn/alexnet", "cnn/resnet18", "cnn/resnet34", "cnn/resnet50", "cnn/vgg11", "cnn/vgg13", "cnn/vgg16",
    "cnn/vgg19", "seq2seq/gru", "seq2seq/transformer", "transformer/bert_base", "transformer/gpt2",
    "transformer/gpt2_large", "transformer/gpt2_medium", "transformer/gpt2_xl", "transformer/llama2_7b",
    "transformer/llama3_1b", "transformer/llama3_8b", "transformer/vit_base", "transformer/vit_small",
)  # fmt: skip
"""Presets that take long to compile and of which others have all the kinds of layers: pytest -m long."""

MEMBERS = [
    pytest.param(group, name, marks=[pytest.mark.long] if name in LARGE else [])
    for group, choices in GROUPS.items()
    for name in choices
    if group not in ("experiment", "sweep")
]
RECIPES = [
    pytest.param(name, marks=[pytest.mark.long] if name in ("addition_transformer", "cmudict_gru") else [])
    for name in GROUPS["experiment"]
]
CLASSES = {  # a choice of each model's class: the smallest, by its name
    yaml.safe_load(path.read_text())["_target_"].rsplit(".", 1)[-1]: name
    for name, path in sorted(GROUPS["model"].items(), key=lambda item: len(item[0]), reverse=True)
}
TINY = ("steps=3", "batch_size=8", "eval_every=3", "log_every=1", "checkpoint.every=3")


def overrides_for(group: str, name: str, tmp_path: Path) -> list[str]:
    """A run that uses one member, with the partners and files it needs."""
    return [f"{group}={name}", *partners(group, name, tmp_path), *TINY]


@pytest.mark.parametrize(("group", "name"), MEMBERS, ids=lambda value: str(value))
def test_member_trains_three_finite_steps_and_survives_reload(group: str, name: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    result = run_fit(run_dir, *overrides_for(group, name, tmp_path))
    if name not in ("csv", "tensorboard"):  # these runs have no metrics.jsonl to read
        assert np.isfinite(losses_of(run_dir)).all()
    assert np.isfinite(result["test"]["loss"])
    trained = load(run_dir, checkpoint="last")
    again = load(run_dir, checkpoint="3")
    assert trained.checkpoint == 3
    assert state_hash(trained.state) == state_hash(again.state)
    assert int(trained.state.step) == 3


@pytest.mark.parametrize("name", GROUPS["experiment"])
def test_recipe_says_its_command(name: str) -> None:
    text = GROUPS["experiment"][name].read_text()
    assert f"bigtrain fit experiment={name}" in text
    for said in ("command", "time", "score", "hardware"):
        assert re.search(rf"^# {said}: +\S.*$", text, re.M), f"the header of {name} must state its {said}"
    assert re.search(r"^# (time|score): .*\d", text, re.M)
    assert not re.search(r"[A-Z]{3,}_[A-Z]+", text), "a placeholder was left"


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_trains(name: str, tmp_path: Path) -> None:
    result = run_fit(tmp_path / "run", f"experiment={name}", *TINY, *partners("experiment", name, tmp_path))
    assert np.isfinite(result["test"]["loss"])


@pytest.mark.parametrize("name", CLASSES.values(), ids=CLASSES)
def test_fresh_parameters_are_those_of_the_constructor(name: str, tmp_path: Path) -> None:
    chosen = overrides_for("model", name, tmp_path)
    program, values = lowered(*chosen)
    state, key = begun(program, values), jax.random.split(jax.random.key(0), 3)[0]
    _, parts = split(program.definition.make_model(key))
    for path, value in parts.params.items():
        np.testing.assert_allclose(state.params[path], value, rtol=1e-5, atol=1e-6)
