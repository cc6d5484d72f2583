"""Other data in the terms of a trained model: its stored types stay, its labels and tokens get the run's numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Dataset, Field, Source, Spec


@dataclass(frozen=True)
class Renumbered:
    """A source of which only `names` are read, some through a table from the data's numbers to the run's."""

    source: Source
    names: tuple[str, ...]
    tables: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        found = self.source[indices]
        return {name: self.tables[name][found[name]] if name in self.tables else found[name] for name in self.names}


def translated(spec: Spec, dataset: Dataset) -> Dataset:
    """The data set with the fields, classes and vocabulary that a model trained on `spec` knows.

    A field keeps the type and scale that this data is stored in, so that its values mean to the model what they mean
    in the data. Data of the run's own spec comes back as it is.

    Raises:
        ConfigError: when a field is missing or of another shape or kind, or a class or symbol is unknown to the model.
    """
    given = dataset.spec
    if (given.fields, given.classes, given.vocabulary) == (spec.fields, spec.classes, spec.vocabulary):
        return dataset
    _check_fields(spec, given)
    if spec.vocabulary and given.vocabulary and spec.vocabulary.raw != given.vocabulary.raw:
        ours, theirs = ("bytes" if one.raw else "characters" for one in (spec.vocabulary, given.vocabulary))
        raise ConfigError("data", f"the model was trained on {ours}, and here are {theirs}")
    names = {
        "label": ("class", given.classes, spec.classes),
        "tokens": (
            "symbol", given.vocabulary and given.vocabulary.symbols, spec.vocabulary and spec.vocabulary.symbols,
        ),
    }  # fmt: skip
    tables = {
        name: _table(*names[field.kind])  # type: ignore[arg-type]
        for name, field in spec.fields.items()
        if field.kind in names and None not in names[field.kind] and names[field.kind][1] != names[field.kind][2]
    }
    fields = {
        name: dataclasses.replace(given.fields[name], dtype="int32") if name in tables else given.fields[name]
        for name in spec.fields
    }
    here = dataclasses.replace(given, fields=fields, classes=spec.classes, vocabulary=spec.vocabulary)
    return Dataset(here, {split: Renumbered(one, tuple(fields), tables) for split, one in dataset.splits.items()})


def _check_fields(spec: Spec, given: Spec) -> None:
    for name, field in spec.fields.items():
        found = given.fields.get(name)
        if found is None or (found.shape, found.kind) != (field.shape, field.kind):
            here = "no such field" if found is None else _described(found)
            raise ConfigError("data", f"{name}: the model was trained on {_described(field)}; here is {here}")
    for name in ("lengths", "segments"):
        if name in given.fields and name not in spec.fields:
            raise ConfigError("data", f"{name}: the model was trained without them, and can't read them")


def _described(field: Field) -> str:
    return f"{field.kind} {list(field.shape)}"


def _table(kind: str, given: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """The run's number of each of the data's names."""
    index = {name: number for number, name in enumerate(known)}
    unknown = [name for name in given if name not in index]
    if unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        problem = f"the model knows no {kind} {', '.join(map(repr, unknown[:8]))}{more}"
        allowed = ", ".join(map(repr, known[:20])) + (", …" if len(known) > 20 else "")
        raise ConfigError("data", problem, allowed=allowed)
    return np.array([index[name] for name in given], np.int32)
