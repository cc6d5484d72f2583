"""A trained model from its run directory. Nothing in the directory can widen what may be built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.check import Checked, check
from bigtrain.config.compose import parse
from bigtrain.config.duration import Duration
from bigtrain.config.errors import ConfigError, InputError
from bigtrain.config.overrides import unreadable
from bigtrain.config.trust import Trust
from bigtrain.data.serialize import spec_from_json
from bigtrain.data.spec import Spec
from bigtrain.models.split import Parts, Recipe
from bigtrain.optim.chain import Chain
from bigtrain.run.directory import RunDirectory
from bigtrain.tasks import Task
from bigtrain.train import step as train_step
from bigtrain.train.prepare import model_numbers
from bigtrain.train.program import PRECISIONS, Definition
from bigtrain.train.state import TrainState

CHANGEABLE = ("data", "mesh", "eval_batch_size")
"""Keys that may be changed for evaluation: where the data is and on which devices, not what was trained."""


@dataclass(frozen=True)
class Trained:
    """A model as a checkpoint left it."""

    checked: Checked
    trusted: Trust
    definition: Definition
    recipe: Recipe
    state: TrainState
    numbers: dict[str, float]
    checkpoint: int

    @property
    def spec(self) -> Spec:
        """The data it was trained on."""
        return self.definition.spec

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return self.definition.make_task(self.numbers)

    @property
    def fields(self) -> dict[str, float]:
        """The model's hyperparameters by field."""
        return {field: self.numbers[f"model.{field}"] for field in self.recipe.fields}

    def parts(self) -> Parts:
        """The arrays to evaluate with, in the precision the model computes in."""
        parts = self.state.evaluated()
        return Parts(train_step.cast(parts.params, jax.numpy.dtype(PRECISIONS[self.definition.precision])), parts.rest)

    def model(self, parts: Parts, key: jax.Array) -> nnx.Module:
        """The model object in evaluation mode, inside or outside of a trace."""
        return self.recipe.merge(parts, self.fields, key, training=False)


def read_config(directory: RunDirectory, overrides: Sequence[str], trust: Sequence[str]) -> tuple[Checked, Trust]:
    """The run's config, checked, with overrides of where the data is; interpolations in it are not expanded."""
    values = {**directory.config(), "loggers": {}, "plugins": []}
    for text in overrides:
        _apply(values, text)
    for path, value in _strings(values):
        if "${" in value and not path.startswith("run_dir"):
            hint = f"give the value: {path}=…" if path.split(".")[0] in CHANGEABLE else None
            raise ConfigError(path, f"{value!r} is not expanded when a run is loaded", hint=hint)
    trusted = Trust.of(trust)
    return check(values, trusted), trusted


def load(path: str | Path, *, checkpoint: str, overrides: Sequence[str] = (), trust: Sequence[str] = ()) -> Trained:
    """The model of a run at its `last` or `best` checkpoint, or at a step."""
    directory = RunDirectory.find(path)
    checked, trusted = read_config(directory, overrides, trust)
    spec = spec_from_json(directory.read("spec.json"), directory.path / "spec.json")
    checkpoints = Checkpoints(directory.checkpoints, checked.run.checkpoint)
    at = _chosen(checkpoints, checkpoint, directory.path)
    run, nodes = checked.run, checked.nodes
    chain = Chain(nodes["optimizer"], nodes["schedule"], trusted, run.clip_norm is not None, run.freeze)
    made = Definition(
        nodes["model"], nodes["task"], chain, spec, trusted, run.precision, run.accumulate, run.ema is not None
    )
    recipe, _ = made.recipe()
    numbers = _numbers(checked, recipe)
    shapes = jax.eval_shape(made.init, {name: jax.numpy.asarray(value) for name, value in numbers.items()})
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)
    state = TrainState(**checkpoints.restore(at, abstract.as_dict()))
    return Trained(checked, trusted, made, recipe, state, numbers, at)


def _numbers(checked: Checked, recipe: Recipe) -> dict[str, float]:
    """What the shapes of the state and the model's behaviour need; how long the run was doesn't matter here."""
    from bigtrain.config import numbers as config_numbers

    def to_steps(duration: Duration) -> int:
        return 1

    values: dict[str, Any] = {"seed": checked.run.seed, "total_steps": 1.0}
    values |= {"clip_norm": checked.run.clip_norm or 1.0, "ema": checked.run.ema or 0.0}
    for name in ("schedule", "task"):
        values |= config_numbers.of(checked.nodes[name], to_steps)
    return values | model_numbers(checked.nodes["model"], recipe.fields)


def _chosen(checkpoints: Checkpoints, wanted: str, path: Path) -> int:
    steps = checkpoints.steps()
    if not steps:
        raise InputError(f"{path} has no checkpoint yet\n  train it first: bigtrain fit run_dir={path}")
    if wanted == "last":
        return steps[-1]
    if wanted == "best":
        best = checkpoints.best()
        return best.step if best else steps[-1]
    if wanted.isdigit() and int(wanted) in steps:
        return int(wanted)
    raise ConfigError("--checkpoint", f"there is no {wanted!r}", allowed=["last", "best", *map(str, steps)])


def _apply(values: dict[str, Any], text: str) -> None:
    """Sets one key to what was typed, in the config of the run."""
    given = parse(text)
    if given is None or given.deletes or given.several or not given.key:
        raise unreadable(text, {}, example="eval_batch_size=64 data.path=new.npz")
    parts = given.key.split(".")
    if parts[0] not in CHANGEABLE or given.key in ("data", "mesh"):
        allowed = ["data.FIELD=…", "mesh.FIELD=…", "eval_batch_size=…"]
        raise ConfigError(given.key, "can't be changed for a trained model", allowed=allowed)
    at: Any = values
    for part in parts[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise ConfigError(given.key, "is no field of the config")
    at[parts[-1]] = given.value


def _strings(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _strings(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found += [(f"{prefix}{name}", item) for item in value if isinstance(item, str)]
        elif isinstance(value, str):
            found.append((f"{prefix}{name}", value))
    return found
