"""What every task provides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx

from bigtrain.data.spec import Spec
from bigtrain.metrics import Mean

Batch = Mapping[str, jax.Array]
EXTRAS = ("lengths", "segments", "categories")
"""Fields that a model is called with by name, beside its inputs."""

Elements = tuple[jax.Array, jax.Array, dict[str, Mean]]
"""Losses and weights of the same shape [B] or [B, T], and the metric states of the batch."""


@runtime_checkable
class Task(Protocol):
    """How a model is judged: losses to train on and metrics to report."""

    metrics: tuple[str, ...]
    """Names that `elements` reports besides the loss."""

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Per-element losses and weights, and metric states.

        Args:
            model: called as `model(inputs, …)`.
            batch: `inputs`, `targets` …; `weights` [B] is 0 for examples that only fill up the last batch.
            rngs: a key for the task's own random numbers.
        """
        ...

    def predict(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """What a user asks of the trained model, by name; each array begins with the batch dimension."""
        ...


@runtime_checkable
class Judging(Protocol):
    """A task that is judged by more than it is trained on: a tighter bound, an answer decoded token by token."""

    def judge(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """As `elements`, with what is worth its cost in evaluation alone; reports the same names and maybe more."""
        ...


@runtime_checkable
class Generative(Protocol):
    """A task whose models can make new examples."""

    def sample(self, model: Any, spec: Spec, key: jax.Array, number: int, **options: Any) -> Any:
        """`number` new examples: images [N, H, W(, C)] within [0, 1], or tokens [N, T]."""
        ...


@runtime_checkable
class Writing(Protocol):
    """A task whose answers are texts, judged on the host for a split as a whole."""

    def texts(self, found: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
        """What `predict` gave, with its tokens as an array of strings: `prediction` [N]."""
        ...

    def references(self, examples: Mapping[str, Any], spec: Spec) -> list[list[str]]:
        """The texts that are right, for each of the examples."""
        ...

    def corpus(self, found: Mapping[str, Any], examples: Mapping[str, Any], spec: Spec) -> dict[str, float]:
        """Scores of all predictions together: NaN for one that needs a package which isn't installed."""
        ...


def call(model: Any, batch: Batch, of: Callable[..., Any] | None = None) -> Any:
    """The model's outputs for a batch, with the lengths, segments and categories where the data has them.

    Instead of the model itself, `of` may be a method of it that takes the same arguments.

    Real inputs are given in the type of the model's parameters, so that a bf16 model computes in bf16; the batch itself
    stays f32 for the losses.
    """
    extras = {name: batch[name] for name in EXTRAS if name in batch}
    inputs = batch["inputs"]
    if jnp.issubdtype(inputs.dtype, jnp.floating):
        params = jax.tree.leaves(nnx.state(model, nnx.Param))
        inputs = inputs.astype(jnp.result_type(*params)) if params else inputs
    return (of or model)(inputs, **extras)


def weights_like(batch: Batch, losses: jax.Array) -> jax.Array:
    """The weight of each loss: the example's weight, and 0 beyond a sequence's length.

    Where targets are sequences of their own length, losses of steps are of theirs. Several losses that aren't those of
    steps, as of an example with three labels, count whatever its length.
    """
    weights = jnp.ones(losses.shape, jnp.float32)
    if "weights" in batch:
        weights = weights * _aligned(batch["weights"], losses.ndim)
    lengths = batch.get("target_lengths")
    if lengths is None and ("inputs" not in batch or losses.shape[1:2] == batch["inputs"].shape[1:2]):
        lengths = batch.get("lengths")
    if losses.ndim > 1 and lengths is not None:
        weights = weights * (jnp.arange(losses.shape[1]) < lengths[:, None])
    return weights


def _aligned(values: jax.Array, ndim: int) -> jax.Array:
    return values.reshape(values.shape + (1,) * (ndim - values.ndim))
