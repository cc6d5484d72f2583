"""A model outside of NNX: its arrays in flat dicts by dotted name, and the recipe that puts them together again.

The model is split once; the training program works on plain pytrees, and merging happens while it is traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bigtrain.models.batch_norm import pooled
from bigtrain.models.layers import STACKED, Hyperparameter
from bigtrain.parallel.naming import gathered
from bigtrain.parallel.rules import STACK, Dim

Arrays = dict[str, jax.Array]
_STATISTICS = ("mean", "var", "count")  # of a batch norm, in the order that `pooled` takes them


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
    streams: tuple[tuple[str, tuple[int, ...]], ...]  # type and shape: layers made by `nnx.vmap` have a stack of keys
    norms: tuple[tuple[str, float], ...] = ()  # each batch norm's name, with its momentum
    dims: Mapping[str, tuple[Dim, ...]] = field(default_factory=dict)  # what each parameter's dimensions are called
    late: frozenset[str] = frozenset()  # parameters that the model itself gathers where it uses them

    def merge(self, parts: Parts, numbers: Mapping[str, Any], key: jax.Array, *, training: bool) -> nnx.Module:
        """The model as an object, in training or evaluation mode.

        Args:
            parts: its arrays.
            numbers: values of its hyperparameters, by field.
            key: every random stream of the model is derived from it, so nothing random has to be saved.
            training: dropout drops and batch norm uses the batch's statistics.
        """
        params, _, _, rest = self.names
        leaves = (
            [parts.params[name] for name in params],
            [jnp.asarray(numbers[field], jnp.float32) for field in self.fields],
            [self._stream(key, index, *stream) for index, stream in enumerate(self.streams)],
            [parts.rest[name] for name in rest],
        )
        states = [jax.tree.unflatten(treedef, part) for treedef, part in zip(self.treedefs, leaves, strict=True)]
        model: nnx.Module = nnx.merge(self.graphdef, *states, copy=True)  # a copy: its variables belong to this trace
        model.train() if training else model.eval()
        return model

    def parts(self, model: nnx.Module) -> Parts:
        """The arrays of a model that this recipe made, for instance after its statistics changed.

        What a call adds to the model (`sow`) isn't part of it: the arrays are the same before and after every step.
        """
        _, params, _, _, rest = nnx.split(model, nnx.Param, Hyperparameter, nnx.RngState, ...)
        arrays = _flat(rest)
        return Parts(_flat(params), {name: arrays[name] for name in self.names[3]})

    def gathered(self, params: Arrays) -> Arrays:
        """The parameters as they are computed with, but for those that the model gathers itself."""
        return {n: v if n in self.late else gathered(n, v, self.dims[n]) for n, v in params.items()}

    @property
    def statistics(self) -> tuple[str, ...]:
        """The names in `rest` that are statistics of a batch."""
        return tuple(f"{norm}{part}" for norm, _ in self.norms for part in _STATISTICS)

    def pooled(self, measured: Arrays) -> Arrays:
        """The statistics of a whole batch, from those of its microbatches [A, …], which all started from the same."""
        found: Arrays = {}
        for norm, momentum in self.norms:
            names = [f"{norm}{part}" for part in _STATISTICS]
            values = pooled(*(measured[name] for name in names), momentum=momentum)
            found |= dict(zip(names, values, strict=True))
        return found

    @staticmethod
    def _stream(key: jax.Array, index: int, kind: str, shape: tuple[int, ...]) -> jax.Array:
        if kind == "RngCount":
            return jnp.zeros(shape, jnp.uint32)
        own = jax.random.fold_in(key, index)
        return jax.random.split(own, shape) if shape else own


def split(model: nnx.Module) -> tuple[Recipe, Parts]:
    """Takes a model apart; works on abstract models (`nnx.eval_shape`) as on real ones."""
    graphdef, *states = nnx.split(model, nnx.Param, Hyperparameter, nnx.RngState, ...)
    flat = [nnx.to_flat_state(state) for state in states]
    names = tuple(tuple(_dotted(path) for path, _ in entries) for entries in flat)
    treedefs = tuple(jax.tree.structure(state) for state in states)
    fields = tuple(variable.field for _, variable in flat[1])
    streams = tuple((type(variable).__name__, variable.get_value().shape) for _, variable in flat[2])
    norms = tuple(
        (_dotted(path).removesuffix("count"), variable.momentum)
        for path, variable in flat[3]
        if "momentum" in variable.get_metadata()
    )
    dims = {_dotted(path): dims_of(variable, STACKED in path) for path, variable in flat[0]}
    late = frozenset(_dotted(path) for path, variable in flat[0] if variable.get_metadata().get("late"))
    return Recipe(graphdef, treedefs, names, fields, streams, norms, dims, late), Parts(
        _flat(states[0]), _flat(states[3])
    )  # type: ignore[arg-type]


def dims_of(variable: nnx.Variable[Any], stacked: bool = False) -> tuple[Dim, ...]:
    """What a parameter's dimensions are called, None where nothing is said; the first of stacked ones is the layers."""
    said, rank = tuple(variable.get_metadata().get("dims") or ()), len(variable.get_value().shape)
    if stacked:
        said = (STACK, *(said or (None,) * (rank - 1)))
    return said if len(said) == rank else (None,) * rank


def _flat(state: nnx.State) -> Arrays:
    return {_dotted(path): variable.get_value() for path, variable in nnx.to_flat_state(state)}


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)
