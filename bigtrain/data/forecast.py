"""Forecasting: windows of one long series, each with the steps that follow it as its targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data.arrays import dataset
from bigtrain.data.long_series import Long, read_long
from bigtrain.data.series_reader import Scaling, filled
from bigtrain.data.spec import Dataset, Field, Reader, Source, Split
from bigtrain.data.splits import contiguous_split


@dataclass(frozen=True)
class Forecasts:
    """Windows of one split: `length` steps as inputs, and those that follow as targets.

    Args:
        inputs: [N, length + horizon, C], scaled: a view of the series.
        targets: the same of the target channels, scaled on their own: [N, length + horizon, K].
        length: steps of the inputs.
        shape: of one target.
    """

    inputs: np.ndarray
    targets: np.ndarray
    length: int
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        ahead = self.targets[indices][:, self.length :].swapaxes(1, 2)  # [B, K, H]
        return {
            "inputs": np.ascontiguousarray(self.inputs[indices][:, : self.length]),
            "targets": np.ascontiguousarray(ahead).reshape(len(ahead), *self.shape),
        }


def forecast(
    *,
    path: str | None = None,
    length: PositiveInt = 48,
    horizon: PositiveInt = 1,
    stride: PositiveInt = 1,
    targets: tuple[str, ...] = (),
    validation: Share = 0.1,
    test: Share = 0.2,
) -> Dataset:
    """The next steps of a long series from the last ones: a .csv with a row for each step, or an array [T, C].

    The end of the series is held out for testing, the part before it for validation, and no window crosses a border.
    Channels are standardised by the training part; forecasts are in the original units.

    Args:
        path: a .csv, .npy or .npz file; columns of dates and texts are left out, missing values interpolated.
        length: steps that a forecast is made from.
        horizon: steps that are forecast.
        stride: steps from the start of one window to that of the next.
        targets: the channels that are forecast, by column name, or number in an array; all by default.
        validation: the share of the steps held out for validation.
        test: the share held out for testing.

    Returns:
        `inputs` float32 [length, C]; `targets` [horizon], or [channels, horizon] of several channels.
    """
    if path is None:
        hint = "for example: bigtrain fit data=forecast data.path=load.csv data.length=48 data.horizon=12 model=rnn"
        raise ConfigError("data.path", "no file is given", allowed="a .csv, .npy or .npz file", hint=hint)
    where = Path(path).expanduser()
    found = read_long(where)
    chosen = _chosen(found, targets)
    window = length + horizon
    if len(found.values) < window:
        raise DataError(where, f"has {len(found.values):,} steps; a window and its forecast take {window:,}")
    parts = contiguous_split(len(found.values), validation, test)
    missing = int(np.isnan(found.values).sum())
    values = _without_holes(where, found.values, parts)
    trained = values[parts["train"].start : parts["train"].stop]
    scaling = Scaling.of([trained])
    shift, scale = float(trained[:, chosen].mean()), float(trained[:, chosen].std()) or 1.0
    inputs, ahead = scaling.scaled(values), ((values[:, chosen] - shift) / scale).astype(np.float32)
    shape: tuple[int, ...] = (len(chosen), horizon) if len(chosen) > 1 else (horizon,)
    if shape[0] == length:  # a model for sequences would take it for a target at each step
        shape = (1, *shape)
    splits: dict[Split, Source] = {}
    for split, part in parts.items():
        _check_part(where, split, part, window)
        if len(part):
            views = [_windows(array[part.start : part.stop], window, stride) for array in (inputs, ahead)]
            splits[split] = Forecasts(views[0], views[1], length, shape)
    fields = {
        "inputs": Field((length, values.shape[1]), "float32", "features"),
        "targets": Field(shape, "float32", "real", scale=scale, shift=shift),
    }
    notes = {"path": str(where), "series": _noted(found, chosen, missing), "naive": _naive(splits, scale)}
    reader = Reader("series", {"forecast": True, **scaling.settings()})
    return dataset(where.stem, fields, splits, reader=reader, notes=notes)


def _without_holes(where: Path, values: np.ndarray, parts: Mapping[Split, range]) -> np.ndarray:
    """The series with missing values interpolated; part by part, so that none is filled from what comes later."""
    made = np.concatenate([filled(values[part.start : part.stop]) for part in parts.values()])
    if np.isinf(made).any():
        raise DataError(where, f"is infinite at step {int(np.flatnonzero(np.isinf(made).any(axis=1))[0])}")
    return made


def _check_part(where: Path, split: Split, part: range, window: int) -> None:
    """Refuses a split that is too short for one window; an empty one is left out."""
    if 0 < len(part) < window:
        problem = f"its part for {split} has {len(part):,} steps; a window and its forecast take {window:,}"
        less = f" or data.{split}=0" if split != "train" else ""
        raise DataError(where, problem, hint=f"use a smaller data.length{less}")


def _chosen(found: Long, targets: tuple[str, ...]) -> list[int]:
    """The places of the channels that are forecast."""
    for name in targets:
        if name not in found.names:
            hint = did_you_mean(name, found.names)
            raise ConfigError("data.targets", f"there is no channel {name!r}", allowed=found.names[:20], hint=hint)
    return [found.names.index(name) for name in targets] or list(range(len(found.names)))


def _windows(values: np.ndarray, window: int, stride: int) -> np.ndarray:
    """Every window [N, window, C] as a view, so that overlapping ones take no memory."""
    return np.lib.stride_tricks.sliding_window_view(values, window, axis=0)[::stride].swapaxes(1, 2)


def _noted(found: Long, chosen: list[int], missing: int) -> str:
    names = [found.names[at] for at in chosen]
    text = f"{len(found.values):,} steps of {len(found.names)}; forecast: {', '.join(names[:6])}"
    text += f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
    text += "; several targets share one scale" if len(chosen) > 1 else ""
    return text + (f"; {missing:,} missing values interpolated" if missing else "")


def _naive(splits: Mapping[Split, Source], scale: float) -> str:
    """How far off it is to say that nothing changes: the error that a model has to beat."""
    split: Split = "test" if "test" in splits else "train"
    source = splits[split]
    assert isinstance(source, Forecasts)
    errors = [
        np.abs(windows[:, source.length :] - windows[:, source.length - 1 : source.length]).mean(axis=(1, 2))
        for windows in (source.targets[at : at + 1000] for at in range(0, len(source), 1000))
    ]
    error = float(np.concatenate(errors).mean()) * scale
    return f"repeating the last value has mean_absolute_error {error:.4f} ({split})"
