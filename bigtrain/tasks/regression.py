"""Regression with squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bigtrain.metrics import Mean
from bigtrain.tasks.task import Batch, Elements, call, weights_like


@dataclass(frozen=True)
class Regression:
    """Real targets: the loss is the squared error, averaged over the numbers of a target; also the absolute error.

    Where sequences have lengths and the targets a value for each step, the steps beyond the length don't count.
    """

    targets: ClassVar[str] = "real"
    metrics: ClassVar[tuple[str, ...]] = ("mean_absolute_error",)

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B], or [B, T] where lengths cut the targets: mean squared errors, in squared units of the target."""
        targets = batch["targets"].astype(jnp.float32)
        per_step = "lengths" in batch and targets.shape[1:2] == batch["inputs"].shape[1:2] != ()
        difference = (self._outputs(model, batch) - targets).reshape(*targets.shape[: 1 + per_step], -1)
        losses = jnp.mean(jnp.square(difference), axis=-1)
        weights = weights_like(batch, losses)
        return losses, weights, {"mean_absolute_error": Mean.of(jnp.mean(jnp.abs(difference), axis=-1), weights)}

    def predict(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """`prediction` [B, V], in units of the target."""
        return {"prediction": call(model, batch).astype(jnp.float32)}

    def _outputs(self, model: Any, batch: Batch) -> jax.Array:
        outputs: jax.Array = call(model, batch).astype(jnp.float32)
        return outputs.reshape(batch["targets"].shape)
