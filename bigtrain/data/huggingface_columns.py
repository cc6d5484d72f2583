"""Which column of a Hugging Face data set is what, and how it becomes an array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean
from bigtrain.data.decoded import Unreadable, in_threads
from bigtrain.data.image_folder import frame_of
from bigtrain.data.pictures import Fit, decode, header
from bigtrain.data.spec import Field, Reader, Split, Vocabulary
from bigtrain.data.text_encoding import BYTES, Encoding, dtype_of, learnt

TARGETS = ("label", "labels", "target", "targets", "class")
LOOKED_AT = 1000  # images of which the header is read
BLOCK = 4096  # texts that are read at once to learn a vocabulary
Make = Callable[[Mapping[str, list[Any]], np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Read:
    """How some columns become fields of the batch."""

    columns: tuple[str, ...]
    fields: Mapping[str, Field]
    make: Make
    prepared: Callable[[Any], Any] = lambda table: table  # the table as `make` wants it
    vocabulary: Vocabulary | None = None
    reader: Reader | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """The columns of a table by what they hold."""

    where: Path
    features: Mapping[str, Any]  # datasets.Features

    def kind(self, name: str) -> str:
        """image, class, text, number (one or a fixed number of them), or what the library calls it."""
        feature = self.features[name]
        called = type(feature).__name__
        if called == "Image":
            return "image"
        if called == "ClassLabel":
            return "class"
        if called == "Value":
            dtype = str(feature.dtype)
            if dtype in ("string", "large_string"):
                return "text"
            return "number" if dtype.startswith(("int", "uint", "float", "bool", "double")) else dtype
        if self.shape(name) is not None:
            return "number"
        return called

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of one value of numbers; None where it isn't fixed, or they are none."""
        feature, dims = self.features[name], []
        while type(feature).__name__ in ("List", "Sequence", "LargeList"):
            dims.append(getattr(feature, "length", -1))
            feature = feature.feature
        if type(feature).__name__.startswith("Array") and hasattr(feature, "shape"):
            dims += feature.shape
        elif type(feature).__name__ != "Value" or str(feature.dtype) in ("string", "large_string", "binary"):
            return None
        sound = all(isinstance(size, int) and size > 0 for size in dims)
        return tuple(dims) if sound else None

    def check(self, key: str, name: str, kinds: Sequence[str]) -> None:
        """Refuses a column that isn't there or isn't of the kinds."""
        if name not in self.features:
            allowed = ", ".join(self.features)
            raise ConfigError(key, f"{name!r} is no column", allowed=allowed, hint=did_you_mean(name, self.features))
        if self.kind(name) not in kinds:
            problem = f"column {name!r} holds {self.kind(name)}, and {' or '.join(kinds)} is needed"
            hint = f"texts are inputs with data.text_column={name}" if self.kind(name) == "text" else None
            raise ConfigError(key, problem, hint=hint)

    def target(self, given: str | None) -> str | None:
        """The column to predict."""
        if given == "none" and "none" not in self.features:
            return None
        if given is not None:
            self.check("data.targets", given, ("class", "text", "number"))
            return given
        found = [name for name in TARGETS if name in self.features]
        if len(found) != 1:
            problem = f"{' and '.join(found)} may be the targets" if found else "which column is to be predicted?"
            hint = "or train without: data.targets=none"
            raise ConfigError("data.targets", problem, allowed=", ".join(self.features), hint=hint)
        self.check("data.targets", found[0], ("class", "text", "number"))
        return found[0]

    def inputs(self, given: str | Sequence[str] | None, target: str | None) -> tuple[str, ...]:
        """The columns that go into the model, all of them of numbers, or one of images."""
        if given is not None:
            names = (given,) if isinstance(given, str) else tuple(given)
            for name in names:
                self.check("data.inputs", name, ("image", "number") if len(names) == 1 else ("number",))
            if target in names:
                raise ConfigError("data.inputs", f"{target!r} is what is to be predicted", hint="leave it out")
            if not names:
                raise ConfigError("data.inputs", "no column is named", allowed=", ".join(self.features))
            return names
        kinds = {name: self.kind(name) for name in self.features if name != target}
        pictures = [name for name, kind in kinds.items() if kind == "image"]
        text = [name for name, kind in kinds.items() if kind == "text"]
        numeric = [name for name, kind in kinds.items() if kind == "number"]
        if len(pictures) == 1:
            return (pictures[0],)
        if numeric and not pictures and not text:
            return tuple(numeric)
        have = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        hint = "data.text_column=NAME reads texts" if text else None
        raise ConfigError("data.inputs", "which columns go into the model?", allowed=have, hint=hint)


def images(where: Path, column: str, loaded: Mapping[Split, Any], size: Any, fit: Fit, channels: Any) -> Read:
    """A column of images, decoded here: the library would follow an address that a row names."""
    import datasets

    def plain(table: Any) -> Any:
        return table.cast_column(column, datasets.Image(decode=False))

    first = plain(loaded["train"].select_columns([column]))
    looked = np.unique(np.linspace(0, len(first) - 1, min(len(first), LOOKED_AT)).astype(np.int64)).tolist()
    headers = [_unbroken(where, column, at, lambda at=at: header(_bytes(first[at][column]))) for at in looked]
    frame = frame_of(where, headers, size, fit, channels)

    def make(rows: Mapping[str, list[Any]], indices: np.ndarray) -> dict[str, np.ndarray]:
        def one(place: int) -> np.ndarray:
            at = int(indices[place])
            return _unbroken(where, column, at, lambda: decode(_bytes(rows[column][place]), frame))

        return {"inputs": np.stack(list(in_threads(one, range(len(indices)))))}

    return Read((column,), {"inputs": frame.field}, make, plain, reader=frame.reader)


def _bytes(value: Any) -> bytes:
    """The file of an image, which is in the table or beside it."""
    if value is None:
        raise Unreadable("is missing")
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    raise Unreadable(f"is not in the data set but at {value.get('path')!r}; save it with the images embedded")


def _unbroken(where: Path, column: str, at: int, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Unreadable as problem:
        raise DataError(where, f"{column!r} of row {at} {problem}") from problem


def numbers(columns: Columns, names: Sequence[str]) -> Read:
    """Columns of numbers as float32: one as it is shaped, several side by side."""
    shapes = [columns.shape(name) or () for name in names]
    if len(names) > 1 and any(len(shape) > 1 for shape in shapes):
        wide = next(name for name, shape in zip(names, shapes, strict=True) if len(shape) > 1)
        raise ConfigError(
            "data.inputs", f"{wide!r} has several dims and can't stand beside others", hint="name it alone"
        )
    shape = (sum(int(np.prod(one)) for one in shapes),) if len(names) > 1 or not shapes[0] else shapes[0]

    def make(rows: Mapping[str, list[Any]], indices: np.ndarray) -> dict[str, np.ndarray]:
        parts = [
            _numeric(columns.where, name, rows[name], indices, one) for name, one in zip(names, shapes, strict=True)
        ]
        joined = parts[0] if len(parts) == 1 else np.concatenate([p.reshape(len(indices), -1) for p in parts], 1)
        return {"inputs": joined.reshape(len(indices), *shape)}

    return Read(tuple(names), {"inputs": Field(shape, "float32", "features")}, make)


def _numeric(where: Path, name: str, values: list[Any], indices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers as float32, refused where one is missing or not finite."""
    try:
        with np.errstate(over="ignore"):
            made = np.array(values, np.float64).astype(np.float32).reshape(len(indices), *shape)
    except (TypeError, ValueError) as error:
        raise DataError(where, f"{name!r} has rows that are not all numbers {list(shape)}") from error
    bad = np.flatnonzero(~np.isfinite(made).reshape(len(indices), -1).all(axis=1))
    if len(bad):
        hint = "fill missing values in, or drop such rows, and save it again"
        raise DataError(where, f"{name!r} is missing or not finite at row {int(indices[bad[0]])}", hint=hint)
    return made


def targets_of(where: Path, name: str, loaded: Mapping[Split, Any]) -> tuple[Field, Make, tuple[str, ...] | None]:
    """The targets' field, how they are made, and the classes: a ClassLabel's, or the values of the training split."""
    train = loaded["train"]
    kind = Columns(where, train.features).kind(name)
    if kind == "number" and "int" not in str(getattr(train.features[name], "dtype", "")):
        shape = Columns(where, train.features).shape(name) or ()

        def real(rows: Mapping[str, list[Any]], indices: np.ndarray) -> dict[str, np.ndarray]:
            return {"targets": _numeric(where, name, rows[name], indices, shape)}

        return Field(shape, "float32", "real"), real, None
    values = list(range(len(train.features[name].names))) if kind == "class" else train.unique(name)
    values = sorted(value for value in values if value is not None)
    classes = tuple(train.features[name].names if kind == "class" else map(str, values))
    if len(classes) < 2:
        raise DataError(where, f"{name!r} has {len(classes)} classes, and at least 2 are needed")
    place = {value: at for at, value in enumerate(values)}

    def label(rows: Mapping[str, list[Any]], indices: np.ndarray) -> dict[str, np.ndarray]:
        found = [place.get(value, -1) for value in rows[name]]
        if -1 in found:
            at = found.index(-1)
            raise DataError(where, f"{name!r} is {rows[name][at]!r} at row {int(indices[at])}, which is no class")
        return {"targets": np.array(found, np.int32)}

    return Field((), "int32", "label"), label, classes


def texts(
    where: Path, column: str, loaded: Mapping[Split, Any], level: str, limit: int, lowercase: bool, length: int
) -> Read:
    """A column of texts as tokens; the vocabulary is that of the training split."""
    train = loaded["train"].select_columns([column])
    blocks = (train[at : at + BLOCK][column] for at in range(0, len(train), BLOCK))
    everything = (text for block in blocks for text in block if text)
    vocabulary = BYTES if level == "bytes" else learnt(everything, level, lowercase, limit)[0]
    encode = Encoding(level, vocabulary, length, lowercase)

    def make(rows: Mapping[str, list[Any]], indices: np.ndarray) -> dict[str, np.ndarray]:
        for at, text in zip(indices, rows[column], strict=True):
            if not text or not text.strip():
                raise DataError(
                    where, f"{column!r} is empty at row {int(at)}", hint="drop such rows, and save it again"
                )
        inputs, lengths, _ = encode(rows[column], where)
        return {"inputs": inputs, "lengths": lengths}

    fields = {
        "inputs": Field((length,), dtype_of(vocabulary), "tokens"), "lengths": Field((), "int32", "length"),
    }  # fmt: skip
    settings = {"form": "classification", "encoding": "utf-8", "column": column, **encode.settings()}
    notes = {"vocabulary": f"{len(vocabulary):,} {level}"}
    return Read((column,), fields, make, vocabulary=vocabulary, reader=Reader("text", settings), notes=notes)
