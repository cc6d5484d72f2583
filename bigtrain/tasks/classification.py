"""Classification with softmax cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bigtrain.config.values import Rate
from bigtrain.data.spec import Spec
from bigtrain.tasks import cross_entropy
from bigtrain.tasks.task import Batch, Elements, call


@dataclass(frozen=True)
class Classification:
    """One class for each example (or each step): softmax cross-entropy in nats, and accuracy.

    Args:
        label_smoothing: probability spread evenly over all classes in the training target (Szegedy et al. 2016);
            evaluation has none.
        spec: the data.
    """

    label_smoothing: Rate = 0.0
    spec: Spec | None = None
    targets: ClassVar[str] = "label"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B] or [B, T]; accuracy counts the examples whose largest logit is the label's."""
        return cross_entropy.elements(model, batch, self.label_smoothing, self.spec and self.spec.classes)

    def judge(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """As `elements`, without smoothing."""
        return cross_entropy.elements(model, batch, 0.0, self.spec and self.spec.classes)

    def predict(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """`label` [B] and `probability` [B, V] (or with a step dimension after B)."""
        logits = call(model, batch).astype(jnp.float32)
        return {"label": jnp.argmax(logits, axis=-1), "probability": jax.nn.softmax(logits)}
