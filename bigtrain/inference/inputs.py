"""Inputs for prediction from a file, checked against what the model was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.spec import Field, Spec

READS = (".npy", ".npz", ".csv", ".txt", ".png", ".jpg", ".jpeg")
_NAMES = ("inputs", "x", "X", "images", "data", "features", "x_test")


def read_inputs(path: Path, spec: Spec) -> dict[str, np.ndarray]:
    """A batch with all the examples of a file: `inputs` [N, *shape], and `lengths` where the model takes them.

    An array of the training data's own type is scaled as in training; floating-point values for a model trained on
    bytes are taken as scaled already, and refused when they lie outside of the range it was trained on.
    """
    if not path.is_file():
        raise DataError(path, "there is no such file")
    suffix = path.suffix.lower()
    if suffix not in READS:
        raise DataError(path, f"can't read {suffix or 'a file without a suffix'}", hint=f"it reads {' '.join(READS)}")
    if path.stat().st_size == 0:
        raise DataError(path, "is empty")
    if spec.inputs.kind == "tokens" and suffix == ".txt":
        return {"inputs": _tokens(path, spec)}
    batch = _arrays(path, suffix)
    return {
        name: _checked(path, name, spec.fields[name], value) for name, value in batch.items() if name in spec.fields
    }


def _arrays(path: Path, suffix: str) -> dict[str, np.ndarray]:
    try:
        if suffix == ".npy":
            return {"inputs": np.load(path, allow_pickle=False)}
        if suffix == ".npz":
            return _archive(path)
        if suffix == ".csv":
            return {"inputs": _table(path)}
        if suffix == ".txt":
            raise ValueError("text is for language models")
        return {"inputs": _image(path)[None]}
    except (ValueError, OSError, EOFError, KeyError) as error:
        if "allow_pickle" in str(error):
            problem = "holds pickled Python objects, which are never loaded"
            raise DataError(path, problem, hint="save plain arrays of numbers with numpy.save") from error
        raise DataError(path, f"can't be read: {' '.join(str(error).split())[:200]}") from error


def _archive(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        name = next((name for name in _NAMES if name in archive), None)
        if name is None and len(archive.files) == 1:
            name = archive.files[0]
        if name is None:
            raise ValueError(f"none of its arrays ({', '.join(archive.files)}) is named {' or '.join(_NAMES[:3])}")
        extras = {extra: archive[extra] for extra in ("lengths", "segments") if extra in archive}
        return {"inputs": archive[name], **extras}


def _table(path: Path) -> np.ndarray:
    """The numbers of a CSV file; a first line that is no numbers is a header."""
    with open(path, encoding="utf-8") as file:
        first = file.readline()
    try:
        [float(cell) for cell in first.split(",")]
        header = 0
    except ValueError:
        header = 1
    return np.loadtxt(path, delimiter=",", skiprows=header, ndmin=2)


def _image(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except UnidentifiedImageError as error:
        raise ValueError("no image") from error


def _tokens(path: Path, spec: Spec) -> np.ndarray:
    """A text as one row of tokens; a character the model never saw is refused."""
    assert spec.vocabulary is not None
    raw = path.read_bytes()
    try:
        text = raw.decode("latin-1") if spec.vocabulary.raw else raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, f"is no UTF-8: byte {error.start}") from error
    return encode(text, spec, str(path))[None]


def encode(text: str, spec: Spec, where: str) -> np.ndarray:
    """Text as tokens [T]."""
    assert spec.vocabulary is not None
    index = {symbol: token for token, symbol in enumerate(spec.vocabulary.symbols)}
    unknown = sorted({character for character in text if character not in index})
    if unknown:
        raise DataError(where, f"the model's text had no {', '.join(map(repr, unknown[:8]))}")
    if not text:
        raise DataError(where, "is empty")
    return np.array([index[character] for character in text], np.int32)


def _checked(path: Path, name: str, field: Field, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise DataError(path, f"{name} holds {values.dtype}, not numbers")
    if name == "inputs":
        values = _shaped(path, field, values)
    if not np.isfinite(values).all():
        raise DataError(path, f"{name} has values that are not finite")
    trained = np.dtype(field.dtype)
    if name != "inputs" or field.kind != "features":
        return values.astype(trained)
    if trained.kind in "ui" and values.dtype.kind in "biu":
        return values.astype(trained)
    if trained.kind in "ui":
        _check_range(path, field, values)
        return (values / field.scale).astype(np.float32)
    return values.astype(trained)


def _check_range(path: Path, field: Field, values: np.ndarray) -> None:
    low, high = field.low, field.high
    if low is not None and high is not None and (values.min() < low - 1e-6 or values.max() > high + 1e-6):
        problem = (
            f"values within [{values.min():g}, {values.max():g}], and the model was trained on [{low:g}, {high:g}]"
        )
        raise DataError(path, problem, hint=f"give {field.dtype} as in training, or floats scaled to that range")


def _shaped(path: Path, field: Field, values: np.ndarray) -> np.ndarray:
    size = int(np.prod(field.shape, dtype=np.int64))
    if values.shape[1:] == field.shape:
        return values
    if values.shape == field.shape:
        return values[None]
    if values.ndim == 2 and values.shape[1] == size:
        return values.reshape(-1, *field.shape)
    wanted = "x".join(map(str, ("N", *field.shape)))
    raise DataError(path, f"has the shape {list(values.shape)}, and the model reads {wanted}")
