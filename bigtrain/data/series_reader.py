"""A user's own time series as inputs of a trained model, and how they are scaled, filled and padded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import DataError, InputError
from bigtrain.data.long_series import SUFFIXES as LONG
from bigtrain.data.long_series import read_long
from bigtrain.data.series_files import read_series
from bigtrain.data.spec import Spec

READS = (".ts", ".npz", ".npy", ".csv", ".tsv")


@dataclass(frozen=True)
class Scaling:
    """What each channel has taken away, and what it is then divided by."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, examples: list[np.ndarray]) -> Scaling:
        """Mean and deviation of each channel over all steps [T, C] of the examples; a constant one is only shifted."""
        rows = np.concatenate(examples)
        deviation = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(deviation > 0, deviation, 1.0))

    @classmethod
    def none(cls, channels: int) -> Scaling:
        """Values as they are."""
        return cls(np.zeros(channels), np.ones(channels))

    def scaled(self, example: np.ndarray) -> np.ndarray:
        """An example [T, C], scaled, as float32."""
        return ((example - self.mean) / self.deviation).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        """As plain values, for the reader."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}


def filled(example: np.ndarray) -> np.ndarray:
    """An example [T, C] with missing values interpolated over time; a channel without any value is 0."""
    holes = np.isnan(example)
    if not holes.any():
        return example
    made, steps = example.copy(), np.arange(len(example))
    for channel in np.flatnonzero(holes.any(axis=0)):
        known = ~holes[:, channel]
        made[:, channel] = np.interp(steps, steps[known], example[known, channel]) if known.any() else 0.0
    return made


def padded(examples: list[np.ndarray], steps: int) -> np.ndarray:
    """Examples [T, C] as one array [N, steps, C], zero beyond the end of each."""
    made = np.zeros((len(examples), steps, examples[0].shape[1]), np.float32)
    for row, example in enumerate(examples):
        made[row, : len(example)] = example
    return made


def read_new_series(path: Path, spec: Spec) -> dict[str, np.ndarray]:
    """The series of a file as a batch, scaled as in training; for a forecast, the last steps of one long series.

    Raises:
        DataError: for a file that the model can't read: other channels, other lengths.
    """
    scaling, forecast = _settings(spec)
    steps, channels = spec.inputs.shape
    long = path.suffix.lower() in LONG or (forecast and path.suffix.lower() in (".npz", ".npy"))
    if path.suffix.lower() not in READS:
        problem = f"can't read {path.suffix or 'a file without a suffix'}: the model was trained on time series"
        raise DataError(path, problem, hint=f"it reads {' '.join(READS)}")
    if long:
        examples = [read_long(path).values]
    else:
        found = read_series(path)
        examples = found.values if found else []
    if forecast:
        short = [len(example) for example in examples if len(example) < steps]
        if short:
            raise DataError(path, f"has {short[0]:,} steps, and a forecast is made from the last {steps:,}")
        examples = [example[-steps:] for example in examples]
    for index, example in enumerate(examples):
        _check(path, spec, index, example, channels)
    inputs = padded([scaling.scaled(filled(example)) for example in examples], steps)
    if not np.isfinite(inputs).all():
        raise DataError(path, "holds values that are not finite")
    if "lengths" not in spec.fields:
        return {"inputs": inputs}
    return {"inputs": inputs, "lengths": np.array([len(example) for example in examples], np.int32)}


def _check(path: Path, spec: Spec, index: int, example: np.ndarray, channels: int) -> None:
    """Refuses an example of other channels or lengths than the model reads."""
    steps = spec.inputs.shape[0]
    if example.shape[1] != channels:
        problem = f"example {index} has {example.shape[1]} channels, and the model reads {channels}"
        raise DataError(path, problem)
    if len(example) != steps and ("lengths" not in spec.fields or len(example) > steps):
        allowed = f"up to {steps:,}" if "lengths" in spec.fields else f"{steps:,}"
        raise DataError(path, f"example {index} has {len(example):,} steps, and the model reads {allowed}")


def _settings(spec: Spec) -> tuple[Scaling, bool]:
    """The settings, if a series wrote them: a run directory may come from a stranger."""
    known = dict(spec.reader.settings) if spec.reader else {}
    channels = spec.inputs.shape[-1]
    numbers = [known.get("mean"), known.get("deviation")]
    if not isinstance(known.get("forecast"), bool) or len(spec.inputs.shape) != 2:
        raise InputError("spec.json: the settings of its reader are no time series'")
    for values in numbers:
        plain = isinstance(values, list) and len(values) == channels
        if not plain or not all(type(one) in (int, float) and math.isfinite(one) for one in values):  # type: ignore[union-attr]
            raise InputError("spec.json: the settings of its reader are no time series'")
    mean, deviation = (np.array(values, np.float64) for values in numbers)
    if not (deviation > 0).all():
        raise InputError("spec.json: the settings of its reader are no time series'")
    return Scaling(mean, deviation), bool(known["forecast"])
