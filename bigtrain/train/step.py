"""One optimizer step: the gradient of a batch, and the update.

Everything averaged is a pair (sum, weight) and is divided once: the gradient of the summed loss over all microbatches,
divided by their summed weight, is the gradient of the mean loss however the batch is cut up.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bigtrain.metrics import Mean
from bigtrain.models.split import Arrays, Parts, Recipe
from bigtrain.parallel.naming import not_keeping_gathered
from bigtrain.tasks import Task
from bigtrain.tasks.task import Judging
from bigtrain.train.state import TrainState

Batch = Mapping[str, jax.Array]
Metrics = dict[str, Mean]
Gradient = Callable[[Arrays, Arrays, Batch, jax.Array], tuple[Arrays, Arrays, Metrics]]
"""(params, rest, batch, key) -> (grads, rest, metrics): the mean gradient here; a private one has the same type."""


def elements(
    recipe: Recipe,
    task: Task,
    numbers: Mapping[str, Any],
    parts: Parts,
    batch: Batch,
    key: jax.Array,
    *,
    training: bool,
) -> tuple[Mean, Metrics, Arrays]:
    """The loss and metric states of a batch, and the model's `rest` after it."""
    model_key, task_key = jax.random.split(key)
    parts = Parts(recipe.gathered(parts.params), parts.rest)
    model = recipe.merge(parts, numbers, model_key, training=training)
    judged = task.judge if isinstance(task, Judging) and not training else task.elements
    losses, weights, metrics = judged(model, batch, task_key)
    return Mean.of(losses, weights), metrics, recipe.parts(model).rest


def mean_gradient(
    recipe: Recipe, task: Task, numbers: Mapping[str, Any], *, dtype: jnp.dtype, accumulate: int = 1
) -> Gradient:
    """The gradient of the weighted mean loss.

    Args:
        recipe: how to put the model together.
        task: gives the losses and weights of a batch.
        numbers: the model's hyperparameters, by field.
        dtype: what the model computes in; parameters and losses stay f32.
        accumulate: microbatches, one after the other; activations of only one are in memory.
    """

    def loss_of(params: Arrays, rest: Arrays, batch: Batch, key: jax.Array) -> tuple[Mean, tuple[Metrics, Arrays]]:
        parts = Parts(cast(params, dtype), rest)
        loss, metrics, rest = elements(recipe, task, numbers, parts, batch, key, training=True)
        return loss, ({"loss": loss, **metrics}, rest)

    if not recipe.late:  # one inside another, the outer one alone would decide what is kept
        loss_of = not_keeping_gathered(loss_of, in_loop=False)

    def whole(params: Arrays, rest: Arrays, batch: Batch, key: jax.Array) -> tuple[Arrays, Arrays, Metrics]:
        """The batch in one piece: dividing the loss instead of the gradient saves a pass over the parameters."""

        def mean(params: Arrays) -> tuple[jax.Array, tuple[Metrics, Arrays]]:
            loss, aux = loss_of(params, rest, batch, key)
            return loss.total * _inverse(loss.weight), aux

        grads, (metrics, new_rest) = jax.grad(mean, has_aux=True)(params)
        return grads, new_rest, metrics

    def microbatch(params: Arrays, rest: Arrays, batch: Batch, key: jax.Array) -> tuple[Arrays, Arrays, Metrics]:
        def total(params: Arrays) -> tuple[jax.Array, tuple[Metrics, Arrays]]:
            loss, aux = loss_of(params, rest, batch, key)
            return loss.total, aux

        grads, (metrics, new_rest) = jax.grad(total, has_aux=True)(params)
        return grads, new_rest, metrics

    def pieces(params: Arrays, rest: Arrays, batch: Batch, key: jax.Array) -> tuple[Arrays, Arrays, Metrics]:
        grads, rest, metrics = _accumulated(microbatch, accumulate, recipe)(params, rest, batch, key)
        scale = _inverse(metrics["loss"].weight)
        return jax.tree.map(lambda leaf: leaf * scale, grads), rest, metrics

    return whole if accumulate == 1 else pieces


def _inverse(weight: jax.Array) -> jax.Array:
    """1 / weight; a batch in which nothing counts has a gradient of zero."""
    return 1.0 / jnp.maximum(weight, jnp.finfo(jnp.float32).tiny)


def _accumulated(microbatch: Gradient, number: int, recipe: Recipe) -> Gradient:
    """The sums of `microbatch` over strided microbatches.

    Strided (example i goes to microbatch i mod A), because a contiguous cut of a batch that is split over devices
    would move every example to another device. Statistics of the batch start from the same values in each microbatch
    and are put together at the end; whatever else is in `rest` goes from one microbatch to the next.
    """
    microbatch = jax.jit(microbatch, inline=True)  # traced once, for its shapes and for the loop

    def gradient(params: Arrays, rest: Arrays, batch: Batch, key: jax.Array) -> tuple[Arrays, Arrays, Metrics]:
        pieces = jax.tree.map(lambda x: x.reshape(x.shape[0] // number, number, *x.shape[1:]).swapaxes(0, 1), batch)
        before = {name: rest[name] for name in recipe.statistics}

        def body(carry: tuple[Any, Arrays], xs: tuple[jax.Array, Batch]) -> tuple[tuple[Any, Arrays], Arrays]:
            sums, passed = carry
            index, piece = xs
            grads, after, metrics = microbatch(params, passed | before, piece, jax.random.fold_in(key, index))
            measured = {name: after.pop(name) for name in before}
            return (jax.tree.map(jnp.add, sums, (grads, metrics)), after), measured

        shapes = jax.eval_shape(microbatch, params, rest, jax.tree.map(lambda x: x[0], pieces), key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (shapes[0], shapes[2]))
        passed = {name: value for name, value in rest.items() if name not in before}
        ((grads, metrics), passed), measured = jax.lax.scan(body, (zeros, passed), (jnp.arange(number), pieces))
        return grads, passed | recipe.pooled(measured), metrics

    return gradient


def update(
    state: TrainState,
    gradient: Gradient,
    rule: optax.GradientTransformationExtraArgs,
    batch: Batch,
    key: jax.Array,
    ema: jax.Array | None,
) -> tuple[TrainState, Metrics]:
    """One optimizer step. `ema` is the decay of the moving average of the parameters, None without one."""
    grads, rest, metrics = gradient(state.params, state.rest, batch, key)
    updates, opt_state = rule.update(grads, state.opt_state, state.params)
    params = typing.cast(Arrays, optax.apply_updates(state.params, updates))
    average = state.ema if ema is None else typing.cast(Arrays, optax.incremental_update(params, state.ema, 1.0 - ema))
    return TrainState(state.step + 1, params, rest, opt_state, average), metrics


def cast(values: Mapping[str, jax.Array], dtype: jnp.dtype) -> dict[str, jax.Array]:
    """The floating-point arrays in another type; the gradient flows back through the cast in f32."""
    return {
        name: value.astype(dtype) if jnp.issubdtype(value.dtype, jnp.floating) and value.dtype != dtype else value
        for name, value in values.items()
    }
