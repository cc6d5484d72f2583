"""What is not finite first in a step: its data, the output of a layer, the loss, a gradient, or what the update made.

The step is done once more, from a state that is finite, and outside of the hot path, by a program that looks at the
batch, the output of each module, the loss, the gradient and the update. All processes of a run take part in it.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import get_opaque_trace_state

from bigtrain.data.placement import Feed
from bigtrain.models.split import Parts, Recipe
from bigtrain.parallel.naming import placed_by
from bigtrain.train import step as training
from bigtrain.train.finite import all_finite
from bigtrain.train.program import PRECISIONS, Program, fields_of, training_key
from bigtrain.train.state import TrainState

_PARTS = {
    "params": "the parameter", "rest": "the statistic", "opt_state": "the optimizer's state", "ema": "the average of",
}  # fmt: skip


_PATCHING = threading.Lock()  # a sweep trains in several threads, and classes are everybody's


@dataclass(frozen=True)
class Finding:
    """What is not finite first in a step, in words, and which rows of its batch are to blame, if some are."""

    first: str
    rows: tuple[int, ...] = ()


def diagnosed(program: Program, state: TrainState, feed: Feed, numbers: Mapping[str, Any]) -> Finding | None:
    """What is not finite first in the step from `state` with the first batch of a feed; None if all of it is finite."""
    whole, modules = program.rules.sharding(), list[str]()
    look = jax.jit(lambda *given: _looked_at(program, modules, *given), out_shardings=whole)
    with placed_by(program.rules):
        seen = jax.device_get(look(state, feed, numbers))
    rows = np.flatnonzero(~seen["rows"])
    few = tuple(rows.tolist()) if len(rows) < seen["rows"].size else ()
    for name, fine in sorted(seen["fields"].items()):
        if not fine.all():
            return Finding(f"the data itself: {name}", tuple(np.flatnonzero(~fine).tolist()))
    if not seen["loss"]:
        found = next((name for name, fine in zip(modules, seen["outputs"], strict=True) if not fine), None)
        return Finding(f"the output of {found}" if found else "the loss", few)
    for part, what in (("grads", "the gradient of"), ("rest", _PARTS["rest"])):
        broken = [name for name, fine in sorted(seen[part].items()) if not fine]
        if broken:
            return Finding(f"{what} {_named(broken)}", few)
    for path, fine in jax.tree_util.tree_leaves_with_path({part: seen["after"][part] for part in _PARTS}):
        if not fine:
            name = getattr(path[-1], "key", None) or jax.tree_util.keystr(path[1:])
            return Finding(f"{_PARTS[path[0].key]} {name} after the update")
    return None


def _named(names: list[str]) -> str:
    return names[0] + (f" (and of {len(names) - 1} more)" if len(names) > 1 else "")


def _looked_at(
    program: Program, modules: list[str], state: TrainState, feed: Feed, numbers: Mapping[str, Any]
) -> dict[str, Any]:
    """Whether each part of a step's computation is finite; inside a program. The modules of `outputs` are named."""
    made, recipe, key = program.definition, program.recipe, training_key(numbers, state.step)
    task, fields = made.make_task(numbers), fields_of(program.recipe, numbers)
    dtype = jnp.dtype(PRECISIONS[made.precision])
    batch = made.batch(feed, 0, key, numbers)
    gradient = training.mean_gradient(recipe, task, fields, dtype=dtype, accumulate=made.accumulate)
    grads, rest, metrics = gradient(state.params, state.rest, batch, key)
    ema = numbers["ema"] if made.ema else None
    given = (state, lambda *_: (grads, rest, metrics), made.chain.transformation(numbers), batch, key, ema)
    model, own = _model(recipe, state, fields, key, dtype)
    with _noting(model) as outputs:
        losses = task.elements(model, batch, own)[0]
    modules += [name for name, _ in outputs]
    return {
        "fields": {name: _rows(value) for name, value in batch.items() if jnp.issubdtype(value.dtype, jnp.floating)},
        "rows": _rows(losses),
        "outputs": [fine for _, fine in outputs],
        "loss": jnp.isfinite(metrics["loss"].total),
        "grads": {name: all_finite(value) for name, value in grads.items()},
        "rest": {name: all_finite(value) for name, value in rest.items()},
        "after": jax.tree.map(all_finite, training.update(*given)[0].as_dict()),
    }


def _rows(values: jax.Array) -> jax.Array:
    """Whether each row is finite."""
    return jnp.isfinite(values).reshape(values.shape[0], -1).all(1)


def _model(recipe: Recipe, state: TrainState, fields: Any, key: jax.Array, dtype: Any) -> tuple[nnx.Module, jax.Array]:
    """The model as a training step sees it, and the key of its task."""
    model_key, task_key = jax.random.split(key)
    params = recipe.gathered(training.cast(state.params, dtype))
    return recipe.merge(Parts(params, state.rest), fields, model_key, training=True), task_key


@contextmanager
def _noting(model: nnx.Module) -> Generator[list[tuple[str, jax.Array]]]:
    """While the block is traced, modules are noted in the order in which they end, and whether their output is finite.

    What they do inside a scan, or another program inside this one, can't be seen from outside of it.
    """
    names = {
        id(node): ".".join(map(str, path)) or "the model"
        for path, node in nnx.iter_graph(model)
        if isinstance(node, nnx.Module)
    }
    kinds = {type(node) for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Module) and callable(node)}
    outputs: list[tuple[str, jax.Array]] = []
    here = get_opaque_trace_state()

    def noted(call: Any) -> Any:
        def wrapped(self: Any, *given: Any, **named: Any) -> Any:
            result = call(self, *given, **named)
            if id(self) in names and get_opaque_trace_state() == here:
                outputs.append((names[id(self)], all_finite(_arrays(result))))
            return result

        return wrapped

    with _PATCHING, ExitStack() as restoring:
        calls = {kind: kind.__call__ for kind in kinds}
        for kind in kinds:
            if "__call__" in vars(kind):
                restoring.callback(setattr, kind, "__call__", calls[kind])
            else:  # it is inherited
                restoring.callback(delattr, kind, "__call__")
        for kind, call in calls.items():
            kind.__call__ = noted(call)  # type: ignore[attr-defined]
        yield outputs


def _arrays(result: Any) -> list[jax.Array]:
    """The arrays of what a module gives."""
    return [leaf for leaf in jax.tree.leaves(result) if isinstance(leaf, jax.Array)]
