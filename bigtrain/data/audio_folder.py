"""Sounds in folders: WAV files as log-mel features, a class a folder or labels from a CSV file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import PositiveFloat, PositiveInt, Share
from bigtrain.data import wav
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.checks import check_memory
from bigtrain.data.decoded import Decoded, Unreadable, kept, looked_at, whole
from bigtrain.data.folders import Labels, find
from bigtrain.data.log_mel import LogMel, fft_size, filters
from bigtrain.data.spec import Dataset, Field, Reader

SUFFIXES = (".wav", ".wave")
EXAMPLE = "for example: bigtrain fit data=audio_folder data.path=recordings model=rnn"
CONVERT = "only WAV is read; convert others: ffmpeg -i IN.mp3 OUT.wav"


def audio_folder(
    *,
    path: str | None = None,
    rate: PositiveInt = 16_000,
    mels: PositiveInt = 40,
    window_ms: PositiveFloat = 25.0,
    hop_ms: PositiveFloat = 10.0,
    seconds: PositiveFloat | None = None,
    lengths: Literal["auto", "none"] = "auto",
    labels: str | None = None,
    file_column: str | None = None,
    label_column: str | None = None,
    target_kind: Literal["auto", "label", "real"] = "auto",
    broken: Literal["refuse", "skip"] = "refuse",
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Your WAV files in a folder as log-mel features: a class a folder (dog/1.wav), or a labels CSV.

    Any rate and any number of channels: they are averaged, and resampled. Features that fit in 512 MB are computed
    once, at the start.

    Args:
        path: the folder; folders called train, validation (valid, val) and test in it are splits.
        rate: samples a second that all sounds are resampled to.
        mels: bands of the spectrum: the values of each step.
        window_ms: length of the window that a step looks at, in milliseconds.
        hop_ms: from one step to the next, in milliseconds.
        seconds: longer sounds are cut; by default the longest decides.
        lengths: auto tells the model how many steps each sound has, where they differ (model=rnn); none ends all in
            silence, for models that read no lengths.
        labels: a CSV file with file names and labels, in the folder or as a path; none trains without labels.
        file_column: the column of the labels file that names the files, by name or position; found by itself.
        label_column: the column that holds the label, likewise; found by itself if it is called label or class.
        target_kind: what the labels of the file are. auto: numbers with fractions are real, all else are classes.
        broken: refuse files that can't be read, or skip them.
        validation: the share held out for validation, where there is no such folder.
        test: the share held out for testing, where there is no such folder.

    Returns:
        `inputs`, float32 [steps, mels], `targets` where there are labels, and `lengths` [] where they differ.
    """
    if path is None:
        raise ConfigError("data.path", "no folder is given", hint=EXAMPLE)
    root, skip = Path(path).expanduser(), broken == "skip"
    recipe = LogMel(rate, mels, window_ms, hop_ms, 1, False)
    _check(recipe)
    found = find(root, "WAV files", SUFFIXES, Labels(labels, file_column, label_column, target_kind), CONVERT)
    found, headers = looked_at(found, _sounding, range(len(found.paths)), "sounds", skip=skip)
    steps = np.array([recipe.steps_of(header) for header in headers])
    recipe, cut = _sized(recipe, steps, seconds, lengths)
    found = found.note(cut=cut, rates=_rates(headers, rate))
    found, column, dropped = kept(found, recipe, "sounds", skip=skip)
    columns, fields = found.columns(column), found.fields(recipe.field)
    if recipe.lengths:
        columns["lengths"] = np.delete(np.minimum(steps, recipe.steps), list(dropped)).astype(np.int32)
        fields["lengths"] = Field((), "int32", "length")
    splits = {split: Arrays(columns, rows) for split, rows in found.held_out(validation, test).items()}
    about = {"classes": found.classes, "reader": recipe.reader, "notes": found.notes}
    return dataset(root.resolve().name, fields, splits, **about)


def _sounding(path: Path) -> wav.Wav:
    """The header of a file that holds any sound."""
    found = wav.header(path)
    if not found.frames:
        raise Unreadable("holds no samples")
    return found


def _check(recipe: LogMel) -> None:
    """Refuses bands so narrow that no frequency of the spectrum falls into one."""
    if recipe.rate > wav.MOST_RATE:
        raise ConfigError("data.rate", f"{recipe.rate} is too large", allowed=f"1 to {wav.MOST_RATE}")
    if recipe.rate < 100:
        raise ConfigError("data.rate", f"{recipe.rate} samples a second hold no sound", hint="16000 is usual")
    empty = int((filters(recipe.rate, fft_size(recipe.window), recipe.mels).sum(0) == 0).sum())
    if empty:
        problem = f"{empty} of {recipe.mels} bands are narrower than the spectrum of {recipe.window} samples can tell"
        raise ConfigError("data.mels", problem, hint=f"use fewer ({recipe.mels // 2}), or a longer data.window_ms")


def _sized(
    recipe: LogMel, steps: np.ndarray, seconds: float | None, lengths: Literal["auto", "none"]
) -> tuple[LogMel, str]:
    """The features with the number of steps that the sounds need, and a note on those that are cut."""
    most = int(steps.max())
    if seconds is not None:
        most = min(most, 1 + max(0, math.ceil(seconds * recipe.rate) - recipe.window) // recipe.hop)
    cut = int((steps > most).sum())
    differ = len(np.unique(np.minimum(steps, most))) > 1
    sized = LogMel(recipe.rate, recipe.mels, recipe.window_ms, recipe.hop_ms, most, lengths == "auto" and differ)
    return sized, f"{cut:,} of {len(steps):,} sounds, to {seconds:g} seconds" if cut else ""


def _rates(headers: list[wav.Wav], rate: int) -> str:
    """A note on what is resampled."""
    others = sorted({header.rate for header in headers} - {rate})
    return f"{', '.join(map(str, others[:4]))} Hz, resampled to {rate}" if others else ""


def read_sounds(path: Path, reader: Reader, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A WAV file, or all of a folder, as a model's `inputs` [N, steps, mels], and `lengths` where it has them."""
    recipe = LogMel.of("spec.json", reader.settings, shape)
    names = sound_names(path) if path.is_dir() else (path.name,)
    root = path if path.is_dir() else path.parent
    check_memory(path, len(names) * recipe.field.nbytes, "predict a part of them at a time")
    rows = {"inputs": whole(Decoded(root, names, recipe, "sounds"))}
    if recipe.lengths:
        steps = [min(recipe.steps, recipe.steps_of(wav.header(root / name))) for name in names]
        rows["lengths"] = np.array(steps, np.int32)
    return rows


def sound_names(folder: Path) -> tuple[str, ...]:
    """The sounds in a folder and below it, sorted: the order in which they are predicted."""
    return find(folder, "WAV files", SUFFIXES, Labels("none"), CONVERT).paths
