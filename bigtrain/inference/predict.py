"""Predictions in batches."""

from __future__ import annotations

import jax
import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.placement import prepare
from bigtrain.inference.load import Trained
from bigtrain.models.split import Parts
from bigtrain.tasks.task import Writing

BATCH = 256


def predict(trained: Trained, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the task predicts for each example, by name; every batch but the last has the same size."""
    number = len(batch["inputs"])
    if number == 0:
        raise DataError("--input", "holds no examples")
    task, size = trained.task, min(BATCH, number)

    @jax.jit
    def compiled(
        parts: tuple[dict[str, jax.Array], dict[str, jax.Array]], batch: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        model = trained.model(Parts(*parts), jax.random.key(0))
        return task.predict(model, prepare(trained.spec, batch))

    parts = trained.parts()
    pieces = []
    for first in range(0, number, size):
        piece = {name: values[first : first + size] for name, values in batch.items()}
        short = size - len(piece["inputs"])
        padded = {name: np.concatenate([values, np.repeat(values[-1:], short, 0)]) for name, values in piece.items()}
        found = jax.device_get(compiled((parts.params, parts.rest), padded))
        pieces.append({name: np.asarray(values)[: size - short] for name, values in found.items()})
    whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return task.texts(whole, trained.spec) if isinstance(task, Writing) else whole
