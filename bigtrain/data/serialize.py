"""A `Spec` as JSON: with it a trained model is used where the data isn't."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_args, get_type_hints

import numpy as np

from bigtrain.config.errors import InputError
from bigtrain.data.spec import SPLITS, Field, Reader, Spec, Vocabulary

KINDS = get_args(get_type_hints(Field)["kind"])
READERS = get_args(get_type_hints(Reader)["kind"])
MOST_VALUES = 2**31  # of one example: what is allocated for a batch is decided by this file
MOST_DIMS = 8


def spec_to_json(spec: Spec) -> str:
    """The spec as JSON text."""
    plain = {
        "name": spec.name,
        "fields": {name: dataclasses.asdict(entry) for name, entry in spec.fields.items()},
        "sizes": dict(spec.sizes),
        "classes": spec.classes,
        "vocabulary": _table_of(spec.vocabulary),
        "target_vocabulary": _table_of(spec.target_vocabulary),
        "reader": {"kind": spec.reader.kind, "settings": dict(spec.reader.settings)} if spec.reader else None,
    }
    return json.dumps(plain, indent=1)


def _table_of(vocabulary: Vocabulary | None) -> dict[str, Any] | None:
    return dataclasses.asdict(vocabulary) if vocabulary else None


def spec_from_json(plain: Any, where: object) -> Spec:
    """The spec from parsed JSON; `where` names the file in the error for one that is no spec.

    Raises:
        InputError: for anything that `spec_to_json` doesn't write: a run directory may come from a stranger.
    """
    try:
        fields = {_text(name): _field(entry) for name, entry in _table(plain["fields"]).items()}
        sizes = {split: _count(size) for split, size in _table(plain["sizes"]).items() if _known(split, SPLITS)}
        classes = None if plain.get("classes") is None else _texts(plain["classes"])
        symbols, target_symbols = (_vocabulary(plain.get(name)) for name in ("vocabulary", "target_vocabulary"))
        spec = Spec(_text(plain["name"]), fields, sizes, classes, symbols, target_symbols, _reader(plain.get("reader")))
        kinds = {entry.kind for entry in fields.values()}
        _demand("inputs" in fields, "there are no inputs")
        _demand(spec.inputs.kind in ("features", "tokens", "categories"), f"inputs are no {spec.inputs.kind}")
        _demand("tokens" not in kinds or bool(spec.vocabulary), "there are tokens and no vocabulary")
        _demand("label" not in kinds or bool(spec.classes), "there are labels and no classes")
        return spec
    except KeyError as error:
        raise InputError(f"{where}: is no data spec: it has no {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{where}: is no data spec: {' '.join(str(error).split())[:200]}") from error


def _field(entry: Any) -> Field:
    known = {one.name for one in dataclasses.fields(Field)}
    for name in _table(entry):
        _known(name, known)
    _known(entry["kind"], KINDS)
    shape = tuple(_count(size) for size in _list(entry["shape"]))
    _demand(len(shape) <= MOST_DIMS and 0 < math.prod(shape) <= MOST_VALUES, f"the shape {list(shape)[:9]}")
    dtype = np.dtype(_text(entry["dtype"]))
    _demand(dtype.kind in "biuf" and dtype.itemsize <= 8, f"the dtype {entry['dtype']!r}")
    bounds = [None if entry.get(name) is None else _number(entry[name]) for name in ("low", "high")]
    table_sizes = tuple(_count(size) for size in _list(entry.get("sizes", [])))
    columns = shape == (len(table_sizes),) if entry["kind"] == "categories" else not table_sizes
    _demand(columns and sum(table_sizes) <= MOST_VALUES, f"the sizes {list(table_sizes)[:9]}")
    scale, shift = _number(entry.get("scale", 1.0)), _number(entry.get("shift", 0.0))
    return Field(shape, entry["dtype"], entry["kind"], scale, *bounds, table_sizes, shift)


def _vocabulary(entry: Any) -> Vocabulary | None:
    if not entry:
        return None
    known = {one.name for one in dataclasses.fields(Vocabulary)}
    for name in _table(entry):
        _known(name, known)
    symbols = _texts(entry["symbols"])
    special = {name: entry.get(name) for name in ("start", "end", "unknown")}
    for token in special.values():
        _demand(token is None or _count(token) < len(symbols), f"{token!r} is no token")
    tokenizer = entry.get("tokenizer")
    return Vocabulary(
        symbols, _flag(entry["raw"]), _text(entry.get("separator", "")), **special,
        tokenizer=None if tokenizer is None else _text(tokenizer),
    )  # fmt: skip


def _reader(entry: Any) -> Reader | None:
    if entry is None:
        return None
    _known(entry["kind"], READERS)
    return Reader(entry["kind"], _table(entry["settings"]))


def _demand(met: bool, problem: str) -> None:
    if not met:
        raise ValueError(problem)


def _known(name: Any, allowed: Any) -> bool:
    _demand(isinstance(name, str) and name in allowed, f"{name!r} is not one of {', '.join(sorted(allowed))}")
    return True


def _table(value: Any) -> dict[str, Any]:
    _demand(isinstance(value, dict), f"{value!r} is no table")
    return dict(value)


def _list(value: Any) -> list[Any]:
    _demand(isinstance(value, list), f"{value!r} is no list")
    return list(value)


def _text(value: Any) -> str:
    _demand(isinstance(value, str), f"{value!r} is no text")
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(value))


def _flag(value: Any) -> bool:
    _demand(isinstance(value, bool), f"{value!r} is neither true nor false")
    return bool(value)


def _count(value: Any) -> int:
    _demand(type(value) is int and value >= 0, f"{value!r} is no count")
    return int(value)


def _number(value: Any) -> float:
    _demand(type(value) in (int, float) and math.isfinite(value), f"{value!r} is no finite number")
    return float(value)
