"""Regression with squared error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec
from bigtrain.metrics import Mean
from bigtrain.tasks.task import Batch, Elements, call, weights_like


@dataclass(frozen=True)
class Regression:
    """Real targets: the loss is the squared error, averaged over the numbers of a target; also errors in its units.

    Where the data knows the scale of its targets (a table does), the model learns their deviation from the mean, and
    the loss is the share of their variance that is left unexplained: 1 is no better than the mean. Where sequences
    have lengths and the targets a value for each step, the steps beyond the length don't count.

    Args:
        spec: the data.
    """

    spec: Spec | None = None
    targets: ClassVar[str] = "real"
    metrics: ClassVar[tuple[str, ...]] = ("mean_absolute_error", "root_mean_squared_error")

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B], or [B, T] where lengths cut the targets: mean squared errors of the scaled targets."""
        scale, shift = self._units()
        targets = (batch["targets"].astype(jnp.float32) - shift) / scale
        per_step = "lengths" in batch and targets.shape[1:2] == batch["inputs"].shape[1:2] != ()
        difference = (self._outputs(model, batch) - targets).reshape(*targets.shape[: 1 + per_step], -1)
        losses = jnp.mean(jnp.square(difference), axis=-1)
        weights = weights_like(batch, losses)
        return (
            losses,
            weights,
            {
                "mean_absolute_error": Mean.of(jnp.mean(jnp.abs(difference), axis=-1) * scale, weights),
                "root_mean_squared_error": Mean.of(losses * scale**2, weights, root=True),
            },
        )

    def predict(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """`prediction` [B, V], or [B] where a target is a single number, in units of the target."""
        scale, shift = self._units()
        outputs = call(model, batch).astype(jnp.float32) * scale + shift
        single = self.spec is not None and self.spec.targets is not None and not self.spec.targets.shape
        return {"prediction": outputs.reshape(len(outputs)) if single else outputs}

    def _units(self) -> tuple[float, float]:
        """What the outputs are multiplied by, and what is added, to be in units of the target."""
        field = self.spec.targets if self.spec else None
        return (field.scale, field.shift) if field else (1.0, 0.0)

    def _outputs(self, model: Any, batch: Batch) -> jax.Array:
        outputs: jax.Array = call(model, batch).astype(jnp.float32)
        needed = batch["targets"].shape
        if outputs.size != math.prod(needed):
            problem = f"{type(model).__name__} gives outputs of shape {list(outputs.shape[1:])} an example"
            raise ConfigError(
                "model", f"{problem}, and {list(needed[1:])} are needed: one for each number of the target"
            )
        return outputs.reshape(needed)
