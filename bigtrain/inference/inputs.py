"""Inputs for prediction from a file, checked against what the model was trained on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.audio_folder import SUFFIXES as SOUNDS
from bigtrain.data.audio_folder import read_sounds, sound_names
from bigtrain.data.pictures import SUFFIXES as PICTURES
from bigtrain.data.pictures import picture_names, read_pictures
from bigtrain.data.series_reader import read_new_series
from bigtrain.data.sources import SUFFIXES as SOURCES
from bigtrain.data.sources import read_sources
from bigtrain.data.spec import Field, Spec
from bigtrain.data.table_reader import read_table
from bigtrain.data.text_reader import SUFFIXES as TEXTS
from bigtrain.data.text_reader import is_classifier, read_texts
from bigtrain.inference.readers import EXTRAS, arrays, check_input


def read_inputs(path: Path, spec: Spec) -> dict[str, np.ndarray]:
    """A batch with all the examples of a file: `inputs` [N, *shape], and `lengths` where the model takes them.

    An array of integers for a model trained on integers is scaled as in training; floating-point values are taken as
    scaled already. Either way they must lie in the range that the model was trained on.

    Raises:
        DataError: for a file or a value that the model can't use, with the index of the first bad example.
    """
    check_input(path)
    if spec.reader is not None and spec.reader.kind == "table":
        return read_table(path, spec)
    if spec.reader is not None and spec.reader.kind == "series":
        return read_new_series(path, spec)
    if spec.reader is not None and spec.reader.kind == "image" and is_raw(path, PICTURES):
        return read_pictures(path, spec.reader, spec.inputs.shape)
    if spec.reader is not None and spec.reader.kind == "audio" and is_raw(path, SOUNDS):
        return read_sounds(path, spec.reader, spec.inputs.shape)
    if path.is_dir():
        raise DataError(path, "is a folder, and the model was not trained on files of pictures or sounds")
    if path.suffix.lower() in SOUNDS:
        raise DataError(path, "is a sound, and the model was not trained on sounds")
    if is_classifier(spec) and path.suffix.lower() in TEXTS:
        return read_texts(path, spec)
    if spec.target_vocabulary is not None and spec.reader is not None and is_raw(path, SOURCES):
        return read_sources(path, spec)
    if spec.inputs.kind == "tokens" and path.suffix.lower() == ".txt":
        found = {"inputs": _text(path, spec)}
    else:
        found = arrays(path, spec.inputs)
    for name, values in found.items():
        if values.dtype.kind not in "biuf":
            raise DataError(path, f"{name} holds {values.dtype}, not numbers")
    inputs = found["inputs"]
    if path.suffix.lower() != ".txt":
        inputs = _shaped(path, spec.inputs, inputs)
    if not len(inputs):
        raise DataError(path, "holds no examples")
    _refuse(path, ~np.isfinite(inputs), "inputs has values that are not finite")
    size = len(spec.vocabulary or ())
    checked = _tokens(path, spec.inputs, inputs, size) if size and spec.inputs.kind == "tokens" else None
    batch = {"inputs": _features(path, spec.inputs, inputs) if checked is None else checked}
    return batch | _extras(path, spec, found, batch["inputs"])


def is_raw(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a path holds what a person brings, a folder or a file of these kinds, rather than arrays."""
    return path.is_dir() or path.suffix.lower() in suffixes


def names_of(path: Path, spec: Spec) -> np.ndarray | None:
    """The names of a folder's files, in the order in which they are read; None for a single file."""
    if not path.is_dir() or spec.reader is None:
        return None
    return np.array(picture_names(path) if spec.reader.kind == "image" else sound_names(path))


def _text(path: Path, spec: Spec) -> np.ndarray:
    """A text as one row of tokens [1, T]."""
    assert spec.vocabulary is not None
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8", "surrogateescape" if spec.vocabulary.raw else "strict")
    except UnicodeDecodeError as error:
        raise DataError(path, f"is no UTF-8: byte {error.start}") from error
    return spec.vocabulary.encode(text, str(path))[None]


def _refuse(path: Path, bad: np.ndarray, problem: str, *, hint: str | None = None) -> None:
    """Raises for the first example with a value marked in `bad` [N, …]."""
    if bad.any():
        index = int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])
        raise DataError(path, f"{problem}; the first such example has index {index}", hint=hint)


def _integers(path: Path, values: np.ndarray, low: int, high: int, problem: str) -> np.ndarray:
    """Whole numbers within `low` and `high`, as int64; a float is whole when nothing follows its point."""
    bad = (values < low) | (values > high)
    if values.dtype.kind == "f":
        bad |= ~(values == np.floor(values))  # NaN too
    _refuse(path, bad, problem)
    return values.astype(np.int64)


def _tokens(path: Path, field: Field, values: np.ndarray, size: int) -> np.ndarray:
    problem = f"inputs has values that are no tokens, which are integers from 0 to {size - 1}"
    return _integers(path, values, 0, size - 1, problem).astype(field.dtype)


def _features(path: Path, field: Field, values: np.ndarray) -> np.ndarray:
    """Features in the type they were trained in; or, where those were integers and these aren't, scaled as float32."""
    stored = np.dtype(field.dtype)
    as_trained = stored.kind in "biu" and values.dtype.kind in "biu"
    if as_trained and stored.kind != "b":
        limits = np.iinfo(stored)
        values = _integers(path, values, limits.min, limits.max, f"inputs has values that are no {field.dtype}")
    as_stored = as_trained or stored.kind == "f"
    scaled = values * field.scale if as_stored and field.scale != 1.0 else values
    _check_range(path, field, scaled)
    if as_stored:
        with np.errstate(over="ignore"):
            result = values.astype(stored)
    else:
        result = (values / field.scale).astype(np.float32)
    _refuse(path, ~np.isfinite(result), "inputs has values that are not finite in float32")
    return result


def _check_range(path: Path, field: Field, scaled: np.ndarray) -> None:
    """The range of integers is known; that of floats is what training happened to see, so its width is left around."""
    if field.low is None or field.high is None:
        return
    low, high = field.low, field.high
    room = 1e-6 + (high - low if np.dtype(field.dtype).kind == "f" else 0.0)
    problem = f"values within [{scaled.min():g}, {scaled.max():g}], and the model was trained on [{low:g}, {high:g}]"
    hint = f"give {field.dtype} as in training, or floats scaled to that range"
    _refuse(path, (scaled < low - room) | (scaled > high + room), problem, hint=hint)


def _shaped(path: Path, field: Field, values: np.ndarray) -> np.ndarray:
    """The values as [N, *shape]: one example, flat ones and a missing or extra channel of one are understood."""
    size = math.prod(field.shape)
    if values.shape[1:] == field.shape and values.ndim:
        return values
    if values.shape == field.shape:
        return values[None]
    squeezed = tuple(length for length in field.shape if length != 1)
    channel = values.ndim > 1 and tuple(length for length in values.shape[1:] if length != 1) == squeezed
    if channel or (values.ndim == 2 and values.shape[1] == size) or (values.ndim == 1 and size == 1):
        return values.reshape(len(values), *field.shape)
    wanted = "x".join(map(str, ("N", *field.shape)))
    raise DataError(path, f"has the shape {list(values.shape)}, and the model reads {wanted}")


def _extras(path: Path, spec: Spec, found: dict[str, np.ndarray], inputs: np.ndarray) -> dict[str, np.ndarray]:
    """`lengths` [N] and `segments` [N, T], exactly where the model was trained with them."""
    number, steps = len(inputs), inputs.shape[1] if inputs.ndim > 1 else 1
    extras = {}
    for name in EXTRAS:
        if name in found and name not in spec.fields:
            raise DataError(path, f"holds {name}, and the model was trained without them")
        if name not in spec.fields:
            continue
        if name not in found:
            raise DataError(path, f"has no {name}, and the model needs them", hint=f"save an .npz: inputs and {name}")
        wanted, values = (number,) if name == "lengths" else (number, steps), found[name]
        if number == 1 and values.shape == wanted[1:]:
            values = values[None]
        if values.shape != wanted:
            raise DataError(path, f"{name} has the shape {list(values.shape)}, and {list(wanted)} is needed")
        low, high = (1, steps) if name == "lengths" else (-(2**31), 2**31 - 1)
        problem = f"{name} has values that are no integers from {low} to {high}"
        extras[name] = _integers(path, values, low, high, problem).astype(spec.fields[name].dtype)
    return extras
