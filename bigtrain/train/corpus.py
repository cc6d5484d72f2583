"""Scores of a split as a whole, worked out on the host from the texts that a model writes for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bigtrain.data.placement import prepare
from bigtrain.data.spec import Source
from bigtrain.metrics.translation import NEEDS
from bigtrain.models.split import Parts, Recipe
from bigtrain.parallel.arrays import put
from bigtrain.parallel.pulse import beat
from bigtrain.parallel.rules import Rules
from bigtrain.tasks.task import Writing
from bigtrain.train import step
from bigtrain.train.program import PRECISIONS, Definition
from bigtrain.train.state import TrainState

Examples = dict[str, np.ndarray]


class Writer:
    """What a model writes for the examples of a source, in batches of one size over the devices of the mesh."""

    def __init__(
        self, definition: Definition, recipe: Recipe, numbers: Mapping[str, Any], rules: Rules, batch_size: int
    ) -> None:
        self.spec, self.rules, self.batch_size = definition.spec, rules, batch_size
        self.task: Any = definition.make_task(numbers)
        fields = {field: numbers[f"model.{field}"] for field in recipe.fields}
        dtype = jnp.dtype(PRECISIONS[definition.precision])

        def predicted(params: Any, rest: Any, batch: Any) -> dict[str, jax.Array]:
            parts = Parts(step.cast(params, dtype), rest)
            model = recipe.merge(parts, fields, jax.random.key(0), training=False)
            found: dict[str, jax.Array] = self.task.predict(model, prepare(self.spec, batch))
            return found

        self._predicted = jax.jit(predicted, out_shardings=rules.sharding())

    def __call__(self, state: TrainState, examples: Examples) -> Examples:
        """The predictions for examples, which are filled up to whole batches with copies of the last."""
        parts, number = state.evaluated(), len(examples["inputs"])
        sharding = self.rules.sharding(("batch",))
        pieces = []
        for first in range(0, number, self.batch_size):
            rows = np.minimum(np.arange(first, first + self.batch_size), number - 1)
            batch = {name: put(values[rows], sharding) for name, values in examples.items()}
            found = jax.device_get(self._predicted(parts.params, parts.rest, batch))  # blocks
            beat()
            pieces.append({name: np.asarray(values)[: number - first] for name, values in found.items()})
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def scores(self, state: TrainState, source: Source) -> dict[str, float]:
        """The scores of all examples of a split together."""
        examples = source[np.arange(len(source))]
        found: dict[str, float] = self.task.corpus(self(state, examples), examples, self.spec)
        return found


def writes(task: object) -> bool:
    """Whether a task's answers are texts to be judged as a whole."""
    return isinstance(task, Writing)


def installed(scores: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """The scores that could be worked out, and a note for those that need a package."""
    missing = [name for name, value in scores.items() if math.isnan(value)]
    packages = sorted({NEEDS[name] for name in missing if name in NEEDS})
    note = f"{' and '.join(missing)} left out: they need {' and '.join(packages)} (pip install 'bigtrain[text]')"
    return {name: value for name, value in scores.items() if name not in missing}, [note] if missing else []
