"""Cross-entropy with label smoothing, for every task that predicts one of a set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bigtrain.config.errors import ConfigError
from bigtrain.data.vocabulary import Vocabulary
from bigtrain.metrics import Mean
from bigtrain.tasks.task import Batch, Elements, call, weights_like


def elements(model: Any, batch: Batch, smoothing: float, choices: Sequence[Any] | Vocabulary | None = None) -> Elements:
    """Losses [B] or [B, T] in nats, and the accuracy: how often the largest logit is the target's.

    Where augmentation mixed two examples, either target is right for its share.

    Args:
        model: gives logits [B, V] or [B, T, V].
        batch: inputs and targets.
        smoothing: see `smoothed`.
        choices: what a target is one of, where that is known.

    Raises:
        ConfigError: the model has no score for each of them.
    """
    logits = call(model, batch)
    if choices is not None:
        check_scores(model, logits.shape, (*batch["targets"].shape, len(choices)))
    return of_logits(logits, batch, smoothing)


def check_scores(model: Any, found: tuple[int, ...], needed: tuple[int, ...]) -> None:
    """Refuses outputs that are no score for each class of each target: a label without one would cost nothing."""
    if found != needed:
        problem = f"{type(model).__name__} gives outputs of shape {list(found[1:])} an example"
        raise ConfigError("model", f"{problem}, and {list(needed[1:])} are needed: a score for each class")


def of_logits(logits: Float[Array, "*lead V"], batch: Batch, smoothing: float) -> Elements:
    """The same, of logits that are there already."""
    logits = logits.astype(jnp.float32)
    targets = batch["targets"].astype(jnp.int32)
    losses, hits = smoothed(logits, targets, smoothing), is_largest(logits, targets)
    if "mixed_targets" in batch:  # of the examples that augmentation mixed in, with share 1 - mix
        mix, others = batch["mix"].reshape(-1, *(1,) * (losses.ndim - 1)), batch["mixed_targets"].astype(jnp.int32)
        losses = mix * losses + (1.0 - mix) * smoothed(logits, others, smoothing)
        hits = mix * hits + (1.0 - mix) * is_largest(logits, others)
    weights = weights_like(batch, losses)
    return losses, weights, {"accuracy": Mean.of(hits, weights)}


def in_chunks(
    model: Any, batch: Batch, smoothing: float, chunk: int, choices: Sequence[Any] | Vocabulary | None = None
) -> Elements:
    """As `elements` of a language model, with the scores of at most `chunk` steps of each sequence in memory at once.

    Args:
        model: gives `hidden(inputs, …)` [B, T, D], and `scores(hidden)` [B, T, V] of any steps of them.
        batch: inputs and targets [B, T].
        smoothing: see `smoothed`.
        chunk: steps.
        choices: see `elements`.

    Raises:
        ConfigError: the model has no such two parts, or no score for each of the choices.
    """
    if not (hasattr(model, "hidden") and hasattr(model, "scores")):
        problem = f"{type(model).__name__} can't give the scores of some steps alone"
        raise ConfigError("task.chunk", problem, hint="leave it out: task.chunk=null")
    hidden, targets = call(model, batch, of=model.hidden), batch["targets"].astype(jnp.int32)
    steps = targets.shape[1]
    number = -(-steps // chunk)

    def cut(values: jax.Array) -> jax.Array:
        """[B, T, …] as [N, B, C, …]; strided, so that steps which are split over devices stay where they are."""
        fill = [(0, 0)] * values.ndim
        fill[1] = (0, -steps % number)
        return jnp.moveaxis(jnp.pad(values, fill).reshape(len(values), -1, number, *values.shape[2:]), 2, 0)

    @jax.checkpoint
    def piece(part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        logits = model.scores(part[0]).astype(jnp.float32)
        if choices is not None:
            check_scores(model, logits.shape, (*part[1].shape, len(choices)))
        return smoothed(logits, part[1], smoothing), is_largest(logits, part[1])

    found = jax.lax.map(piece, (cut(hidden), cut(targets)))
    losses, hits = (jnp.moveaxis(values, 0, 2).reshape(len(targets), -1)[:, :steps] for values in found)
    weights = weights_like(batch, losses)
    return losses, weights, {"accuracy": Mean.of(hits, weights)}


def is_largest(logits: Float[Array, "*lead V"], labels: Int[Array, "*lead"]) -> Float[Array, "*lead"]:
    """1.0 where the label's logit is the largest, the first of them where several are, else 0.0.

    It says what `argmax(logits) == labels` does, in sums over what the loss needs too, so one pass over the logits
    gives both.
    """
    logits = jax.lax.stop_gradient(logits)
    number, label = jnp.arange(logits.shape[-1]), labels[..., None]
    largest = logits == logits.max(axis=-1, keepdims=True)
    before = jnp.sum(largest & (number < label), axis=-1)
    own = jnp.sum(largest & (number == label), axis=-1)
    return ((own == 1) & (before == 0)).astype(jnp.float32)


def smoothed(logits: Float[Array, "*lead V"], labels: Int[Array, "*lead"], smoothing: float) -> Float[Array, "*lead"]:
    """−Σ q·log p in nats, where q gives `smoothing` of the probability evenly to all V (Szegedy et al. 2016).

    Without smoothing a logit may be −inf: a class that the model rules out.
    """
    chosen = labels[..., None] == jnp.arange(logits.shape[-1])  # not a lookup, whose gradient is a slow scatter
    own = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
    exact = jax.nn.logsumexp(logits, axis=-1) - own
    return jnp.where(jnp.asarray(smoothing) > 0, exact + smoothing * (own - jnp.mean(logits, axis=-1)), exact)
