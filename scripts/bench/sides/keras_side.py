"""Keras 3: `compile` and `fit` over arrays; KERAS_BACKEND says on what."""

from __future__ import annotations

import importlib
import math
import time
from pathlib import Path
from typing import Any

import keras

from bench.catalog import Workload
from bench.sides import batches
from bench.sides.keras_models import MODELS


class Trainer:
    """See `bench.worker.Trainer`."""

    def __init__(self, workload: Workload, data: Path, options: dict[str, Any]) -> None:
        keras.utils.set_random_seed(0)
        self.batch, self.vae = workload.batch, workload.name == "W3"
        self.data = self._pairs(*batches.split(data, "train", workload.batch))
        self.held = self._pairs(*batches.split(data, "val", 1))
        self.per_epoch = len(self.data[0]) // self.batch
        self.model, loss, metrics = MODELS[workload.name](**workload.model)
        given = {name: options[name] for name in ("steps_per_execution",) if name in options}
        adam = keras.optimizers.Adam(1e-3, epsilon=1e-8)
        self.model.compile(optimizer=adam, loss=loss, metrics=metrics, **given)

    def _pairs(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        return (inputs, inputs) if self.vae else (inputs, targets)

    def facts(self) -> dict[str, Any]:
        """See `bench.worker.Trainer`."""
        backend = keras.backend.backend()
        framework = importlib.import_module(backend)
        if backend == "jax":
            device = framework.devices()[0].device_kind
        else:
            device = "gpu" if framework.config.list_physical_devices("GPU") else "cpu"
        count = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        return {"parameters": count, "keras": keras.__version__, backend: framework.__version__, "device": device}

    def _fit(self, first: int, steps: int, epochs: int = 1, **keywords: Any) -> float:
        """Trains `steps` updates an epoch on the examples from step `first` on; the mean loss of the last epoch."""
        x, y = (part[first * self.batch : (first + steps) * self.batch] for part in self.data)
        history = self.model.fit(
            x, y, batch_size=self.batch, epochs=epochs, shuffle=True, verbose=0, **keywords
        )  # fmt: skip
        return float(history.history["loss"][-1])

    def loss(self, steps: int, tail: int) -> float:
        """See `bench.worker.Trainer`; both parts are of one pass over the data."""
        assert steps <= self.per_epoch, "the data is too small for so many steps in one pass"
        self._fit(0, steps - tail)
        return self._fit(steps - tail, tail)

    def warm(self) -> float:
        """A few epochs of a part of the data, for what is compiled at the first, and until one lasts a while."""
        seconds, steps = 0.0, self.model.steps_per_execution or 4
        self.run(steps)
        while seconds < 0.3 and steps < 4 * self.per_epoch:
            steps *= 2
            seconds, _ = self.run(steps)
        return seconds / steps

    def run(self, steps: int) -> tuple[float, int]:
        """See `bench.worker.Trainer`: whole epochs, and then the rest on a part of the data."""
        epochs, rest = divmod(steps, self.per_epoch)
        begun = time.perf_counter()
        if epochs:
            self._fit(0, self.per_epoch, epochs)
        if rest:
            self._fit(0, rest)
        return time.perf_counter() - begun, steps

    def epochs(self, number: int) -> None:
        """See `bench.worker.Trainer`."""
        self._fit(0, self.per_epoch, number, validation_data=self.held, validation_batch_size=256)
