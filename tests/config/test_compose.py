"""What is typed, the user's folder and the shipped one become one config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bigtrain.config.compose import compose, compose_each, parse, to_yaml
from bigtrain.config.errors import ConfigError


def values(*overrides: str, config_dir: Path | None = None) -> dict:
    return compose(overrides, config_dir).resolved


def test_defaults() -> None:
    found = values()
    assert (found["steps"], found["seed"], found["batch_size"]) == (2000, 0, 64)
    assert found["model"]["_target_"] == "bigtrain.models.mlp.MLP"
    assert sorted(found["loggers"]) == ["csv", "jsonl", "tensorboard"]
    assert "hydra" not in found
    assert "experiment" not in found


def test_fields_that_the_yaml_does_not_list() -> None:
    assert values("model.norm=layer")["model"]["norm"] == "layer"
    assert values("+model.norm=layer")["model"]["norm"] == "layer"
    assert "dropout" not in values("~model.dropout")["model"]


def test_loggers_are_chosen_together() -> None:
    assert list(values("logger=jsonl")["loggers"]) == ["jsonl"]
    assert values("logger=[]")["loggers"] == {}
    assert sorted(values("~loggers.csv")["loggers"]) == ["jsonl", "tensorboard"]


def test_rules_can_be_added() -> None:
    assert values("mesh.rules.embed=data")["mesh"]["rules"] == {"batch": "data", "embed": "data"}
    assert values("~mesh.rules.batch")["mesh"]["rules"] == {}


def test_the_run_directory_is_named_once() -> None:
    found = compose(["model=rnn"])
    assert found.written["run_dir"] == found.resolved["run_dir"]
    assert found.resolved["run_dir"].endswith("-rnn-digits")
    assert found.choices["model"] == "rnn"


def test_the_environment_is_resolved_for_use_and_not_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_DATA", "/data/set.npz")
    found = compose(["data=npz", "data.path=${oc.env:MY_DATA}"])
    assert found.resolved["data"]["path"] == "/data/set.npz"
    assert found.written["data"]["path"] == "${oc.env:MY_DATA}"
    assert "${oc.env:MY_DATA}" in to_yaml(found.written)


ODD = (
    "1e3", "yes", "x: y", "é", "line\nbreak", "- a", "x" * 300, " lead", "word " * 60, "#c", "it's", "\u2028x", "😀",
    "a\tb", "", "!t", "0x1F", "1_000", "2020-01-01", "=", "\x01", "~", "null", "\\", '"q"', "trail ", "&a", "*b", "%",
    "@", "`", 1e-5, 1e22, float("inf"), True, None, {}, [], ["1", 1], "${oc.env:HOME}",
)  # fmt: skip


def test_yaml_is_as_omegaconf_writes_it() -> None:
    for value in ODD:
        values = {"key": value, "inner": {"n": value, "list": [value]}}
        assert to_yaml(values) == OmegaConf.to_yaml(OmegaConf.create(values)), repr(value)
    written = compose([]).written
    assert to_yaml(written) == OmegaConf.to_yaml(OmegaConf.create(written))


def test_the_users_folder_stands_in_front(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "model" / "mlp.yaml").write_text("_target_: bigtrain.models.mlp.MLP\nwidths: [7]\n")
    (tmp_path / "model" / "mine.yaml").write_text("_target_: bigtrain.models.mlp.MLP\nwidths: [9]\n")
    recipe = "# @package _global_\ndefaults:\n  - override /model: mine\n  - override /optimizer: sgd\nbatch_size: 5\n"
    (tmp_path / "experiment" / "try.yaml").write_text(recipe)
    assert values(config_dir=tmp_path)["model"]["widths"] == [7]
    assert values("model=mine", config_dir=tmp_path)["model"]["widths"] == [9]
    found = values("experiment=try", "batch_size=6", config_dir=tmp_path)
    assert (found["model"]["widths"], found["batch_size"]) == ([9], 6)
    assert found["optimizer"]["_target_"] == "optax.sgd"
    assert values()["model"]["widths"] == [128, 128]  # and nothing of it stays behind


def test_a_broken_file_that_is_not_chosen_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "broken.yaml").write_text("{ [")
    assert values(config_dir=tmp_path)["steps"] == 2000
    with pytest.raises(ConfigError, match="stepz: the run has no such key"):
        values("stepz=3", config_dir=tmp_path)


def test_one_mistake_leaves_hydra_usable() -> None:
    for _ in range(2):
        with pytest.raises(ConfigError):
            values("seed=${nowhere}")
        assert values("seed=4")["seed"] == 4


def test_parse() -> None:
    given = parse("++model.widths=[1,2]")
    assert given is not None
    assert (given.key, given.value, given.typed, given.deletes) == ("model.widths", [1, 2], "[1,2]", False)
    assert parse("a=[1") is None
    assert parse("a=" + "9" * 5000) is None
    assert parse("a=" + "[" * 5000) is None
    deleted = parse("~a")
    assert deleted is not None
    assert deleted.deletes
    sweep = parse("a=1,2")
    assert sweep is not None
    assert sweep.several


def test_a_nested_choice_makes_no_nested_run_directory() -> None:
    assert Path(compose(["model=cnn/lenet5"]).resolved["run_dir"]).parent == Path("runs")
    assert compose(["model=cnn/lenet5", "run_dir=mine/cnn/lenet5"]).resolved["run_dir"] == "mine/cnn/lenet5"


@pytest.mark.parametrize(
    "own",
    [
        ["seed=3", "optimizer.learning_rate=1e-3"],
        ["model.latent=4"],
        ["optimizer=sgd", "seed=2"],
        ["mesh.rules.batch=data", "ema=0.9"],
        ["run_dir=y", "schedule.warmup=5%"],
        ["freeze=[a,b]"],
        ["checkpoint.monitor=elbo", "batch_size=7"],
        ["model={latent: 7}"],
        ["sed=3"],
        ["mesh.data=[1"],
    ],
)
def test_one_of_many_is_composed_as_if_alone(own: list[str]) -> None:
    shared = ["steps=100", "model=vae", "run_dir=x"]

    def tried(make: Callable[[], object]) -> object:
        try:
            return make()
        except ConfigError as error:
            return str(error)

    alone = tried(lambda: compose([*shared, *own]))
    assert tried(lambda: list(compose_each(shared, [["seed=1"], own]))[1]) == alone
