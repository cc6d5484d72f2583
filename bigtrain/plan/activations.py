"""What the backward pass keeps of the forward pass: read off the traced gradient, before anything is compiled."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import jax

from bigtrain.data.placement import prepare, take
from bigtrain.models.split import Arrays, Parts
from bigtrain.parallel.naming import placed_by
from bigtrain.parallel.rules import Rules
from bigtrain.train import step
from bigtrain.train.program import PRECISIONS, Definition, Numbers, fields_of
from bigtrain.train.state import TrainState

SPLITTING = ("batch", "time", "hidden", "heads", "channels", "gates")
"""Dimensions of activations that rules split; an array is taken to be split over the axes of those that it can have."""


def residuals(definition: Definition, state: TrainState, feed: Any, numbers: Numbers, rules: Rules) -> int:
    """Bytes on a device that are kept of one microbatch between its forward and its backward pass.

    The sizes of the arrays are exact; how they are split is taken from the axes of the mesh, because XLA decides it.

    Args:
        definition: what is computed.
        state: abstract.
        feed: the abstract training feed.
        numbers: abstract.
        rules: the mesh.
    """
    recipe, _ = definition.recipe()
    dtype = jax.numpy.dtype(PRECISIONS[definition.precision])

    def forward(params: Arrays, rest: Arrays, feed: Any, numbers: Numbers) -> Any:
        batch = prepare(definition.spec, take(feed, jax.numpy.int32(0)))
        batch = {name: value[: max(1, value.shape[0] // definition.accumulate)] for name, value in batch.items()}
        key = jax.random.key(0)
        batch = dict(definition.augmented(batch, key, numbers))
        task, fields = definition.make_task(numbers), fields_of(recipe, numbers)

        def loss(params: Arrays) -> jax.Array:
            parts = Parts(step.cast(params, dtype), rest)
            return step.elements(recipe, task, fields, parts, batch, key, training=True)[0].total

        return jax.vjp(loss, params)[1]

    with placed_by(rules):
        kept = jax.tree.leaves(jax.eval_shape(forward, state.params, state.rest, feed, numbers))
    own = Counter((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state.params))
    total = 0
    for leaf in kept:
        if own[leaf.shape, leaf.dtype]:  # a parameter itself, which is there anyway
            own[leaf.shape, leaf.dtype] -= 1
        else:
            total += math.prod(leaf.shape) * leaf.dtype.itemsize
    ways = {axis for dim in SPLITTING for axis in rules.axes(dim)}
    return total // math.prod(rules.mesh.shape[axis] for axis in ways)
