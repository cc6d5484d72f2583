"""Other data in the terms of a trained model: its stored types stay, its labels and tokens get the run's numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Dataset, Field, Source, Spec
from bigtrain.inference.lengthen import lengthened


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
    _check_table(spec, given)
    if _terms(given) == _terms(spec):
        return dataset
    if spec.target_vocabulary is not None:
        dataset = lengthened(spec, dataset)
        given = dataset.spec
    _check_fields(spec, given)
    if spec.vocabulary and given.vocabulary and spec.vocabulary.raw != given.vocabulary.raw:
        ours, theirs = ("bytes" if one.raw else "characters" for one in (spec.vocabulary, given.vocabulary))
        raise ConfigError("data", f"the model was trained on {ours}, and here are {theirs}")
    names = {name: _names(name, field, given, spec) for name, field in spec.fields.items()}
    tables = {
        name: _table(kind, theirs, ours)
        for name, (kind, theirs, ours) in names.items()
        if theirs is not None and ours is not None and theirs != ours
    }
    fields = {
        name: dataclasses.replace(given.fields[name], dtype="int32") if name in tables else given.fields[name]
        for name in spec.fields
    }
    here = dataclasses.replace(given, fields=fields, classes=spec.classes, vocabulary=spec.vocabulary)
    here = dataclasses.replace(here, target_vocabulary=spec.target_vocabulary)
    return Dataset(here, {split: Renumbered(one, tuple(fields), tables) for split, one in dataset.splits.items()})


def _terms(spec: Spec) -> tuple[object, ...]:
    """What numbers of a data set mean anything in."""
    return spec.fields, spec.classes, spec.vocabulary, spec.target_vocabulary


Names = tuple[str, Sequence[str] | None, Sequence[str] | None]


def _names(name: str, field: Field, given: Spec, spec: Spec) -> Names:
    """What the numbers of a field are called, in the data and by the model; None for what has no names."""
    if field.kind == "label":
        return "class", given.classes, spec.classes
    theirs, ours = given.vocabulary, spec.vocabulary
    if name in ("targets", "references") and spec.target_vocabulary is not None:
        theirs, ours = given.target_vocabulary, spec.target_vocabulary
    if field.kind != "tokens" or theirs is None or ours is None:
        return "symbol", None, None
    return "symbol", theirs.symbols, ours.symbols


def _check_table(spec: Spec, given: Spec) -> None:
    """Refuses a table or series encoded by statistics other than the run's: its numbers would mean something else."""
    ours = spec.reader is not None and spec.reader.kind == "table"
    if ours and (given.reader is None or given.reader.settings["columns"] != spec.reader.settings["columns"]):  # type: ignore[union-attr]
        hint = "bigtrain predict takes any table: it reads it with the statistics of the run"
        raise ConfigError("data", "the model was trained on a table with other columns, means or categories", hint=hint)
    if spec.reader is not None and spec.reader.kind == "series" and given.reader != spec.reader:
        hint = "bigtrain predict takes any file: it reads it with the statistics of the run"
        raise ConfigError("data", "the model was trained on series with other means or deviations", hint=hint)


def _check_fields(spec: Spec, given: Spec) -> None:
    for name, field in spec.fields.items():
        found = given.fields.get(name)
        units = field.kind == "real" and found is not None and (found.scale, found.shift) != (field.scale, field.shift)
        if units:
            problem = f"{name}: the model was trained on values of another mean and deviation"
            raise ConfigError("data", problem, hint="bigtrain predict gives predictions for any file")
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
