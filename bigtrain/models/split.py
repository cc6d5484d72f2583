"""A model outside of NNX: its arrays in flat dicts by dotted name, and the recipe that puts them together again.

The model is split once; the training program works on plain pytrees, and merging happens while it is traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bigtrain.models.layers import Hyperparameter

Arrays = dict[str, jax.Array]


@dataclass(frozen=True)
class Parts:
    """The arrays of a model by role. `params` are trained; `rest` (say, batch statistics) changes without gradient."""

    params: Arrays
    rest: Arrays


@dataclass(frozen=True)
class Recipe:
    """What is static in a model: its graph, the names of its arrays, and the fields its hyperparameters come from."""

    graphdef: Any
    treedefs: tuple[Any, Any, Any, Any]
    names: tuple[tuple[str, ...], ...]  # of params, hyperparameters, random streams, rest
    fields: tuple[str, ...]  # the constructor's argument behind each hyperparameter
    stream_types: tuple[str, ...]

    def merge(self, parts: Parts, numbers: Mapping[str, Any], key: jax.Array, *, training: bool) -> nnx.Module:
        """The model as an object, in training or evaluation mode.

        Args:
            parts: its arrays.
            numbers: values of its hyperparameters, by field.
            key: every random stream of the model is derived from it, so nothing random has to be saved.
            training: dropout drops and batch norm uses the batch's statistics.
        """
        params, hyper, streams, rest = self.names
        leaves = (
            [parts.params[name] for name in params],
            [jnp.asarray(numbers[field], jnp.float32) for field in self.fields],
            [self._stream(index, kind, key) for index, kind in enumerate(self.stream_types)],
            [parts.rest[name] for name in rest],
        )
        states = [jax.tree.unflatten(treedef, part) for treedef, part in zip(self.treedefs, leaves, strict=True)]
        model: nnx.Module = nnx.merge(self.graphdef, *states, copy=True)  # a copy: its variables belong to this trace
        model.train() if training else model.eval()
        return model

    def parts(self, model: nnx.Module) -> Parts:
        """The arrays of a model that this recipe made, for instance after its statistics changed."""
        _, params, _, _, rest = nnx.split(model, nnx.Param, Hyperparameter, nnx.RngState, ...)
        return Parts(_flat(params), _flat(rest))

    @staticmethod
    def _stream(index: int, kind: str, key: jax.Array) -> jax.Array:
        return jax.random.fold_in(key, index) if kind == "RngKey" else jnp.zeros((), jnp.uint32)


def split(model: nnx.Module) -> tuple[Recipe, Parts]:
    """Takes a model apart; works on abstract models (`nnx.eval_shape`) as on real ones."""
    graphdef, *states = nnx.split(model, nnx.Param, Hyperparameter, nnx.RngState, ...)
    flat = [nnx.to_flat_state(state) for state in states]
    names = tuple(tuple(_dotted(path) for path, _ in entries) for entries in flat)
    treedefs = tuple(jax.tree.structure(state) for state in states)
    fields = tuple(variable.field for _, variable in flat[1])
    types = tuple(type(variable).__name__ for _, variable in flat[2])
    return Recipe(graphdef, treedefs, names, fields, types), Parts(_flat(states[0]), _flat(states[3]))  # type: ignore[arg-type]


def _flat(state: nnx.State) -> Arrays:
    return {_dotted(path): variable.get_value() for path, variable in nnx.to_flat_state(state)}


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)
