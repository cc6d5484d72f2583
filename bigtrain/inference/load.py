"""A trained model from its run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.check import Checked
from bigtrain.config.duration import Duration
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust
from bigtrain.data.spec import Spec
from bigtrain.inference.stored import Stored, read
from bigtrain.models.split import Parts, Recipe
from bigtrain.optim.chain import Chain
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.devices import all_devices
from bigtrain.parallel.rules import Rules
from bigtrain.tasks import Task
from bigtrain.train import step as train_step
from bigtrain.train.prepare import model_numbers
from bigtrain.train.program import PRECISIONS, Definition
from bigtrain.train.sharding import sharded
from bigtrain.train.state import TrainState


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


def load(path: str | Path, *, checkpoint: str, trust: Sequence[str] = ()) -> Trained:
    """The model of a run at its `last` or `best` checkpoint, or at a step; without the run's data."""
    return restore(read(path, checkpoint=checkpoint, trust=trust))


def restore(stored: Stored, rules: Rules | None = None) -> Trained:
    """The model that a run directory describes, with its arrays, split by the rules of a mesh or on one device."""
    run, nodes = stored.checked.run, stored.checked.nodes
    meshes.simulate(run.mesh)  # before anything asks JAX for its devices
    checkpoints = Checkpoints(stored.directory.checkpoints, run.checkpoint)
    at = _chosen(checkpoints, stored.checkpoint)
    chain = Chain(
        nodes["optimizer"], nodes["schedule"], stored.trusted, run.clip_norm is not None, run.freeze,
        run.skip_spikes is not None,
    )  # fmt: skip
    made = Definition(
        nodes["model"], nodes["task"], chain, stored.spec, stored.trusted, run.precision,
        ema=run.ema is not None,
    )  # fmt: skip
    recipe, _ = made.recipe()
    numbers = _numbers(stored.checked, recipe)
    shapes = jax.eval_shape(made.init, {name: jax.numpy.asarray(value) for name, value in numbers.items()})
    abstract = _on_one_device(shapes) if rules is None else sharded(shapes, recipe, rules)
    state = TrainState(**checkpoints.restore(at, abstract.as_dict()))
    return Trained(stored.checked, stored.trusted, made, recipe, state, numbers, at)


def _on_one_device(state: TrainState) -> TrainState:
    one = jax.sharding.SingleDeviceSharding(all_devices()[0])
    found: TrainState = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one), state)
    return found


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


def _chosen(checkpoints: Checkpoints, wanted: str) -> int:
    """The step of a checkpoint by its name."""
    if wanted == "last":
        return checkpoints.steps()[-1]
    if wanted != "best":
        return int(wanted)
    best = checkpoints.best(strict=True)
    if best is None:
        raise ConfigError("--checkpoint", "no checkpoint has a validation score", hint="use last")
    return best.step
