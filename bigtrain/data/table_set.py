"""A data set from tables: which column is what, which row is in which split, and what is noted of both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.spec import SPLITS, Dataset, Reader, Source, Split
from bigtrain.data.splits import random_split, split_sizes, stratified_split
from bigtrain.data.table_columns import Column, Frame, Kind, Numbers, Settings, Table, Texts, encoded, fields, fitted
from bigtrain.data.table_files import as_number
from bigtrain.data.table_reader import PARQUET
from bigtrain.data.table_targets import Targets, implied, labels, reals

LISTED = 6  # columns that a note names
DISTINCT = 20  # so many texts may all be different and still be categories
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?")
COMMA = re.compile(r"[+-]?\d*,\d+")  # a number with a decimal comma
Rows = Mapping[Split, np.ndarray]


@dataclass(frozen=True)
class Choice:
    """What the user says of the columns and the splits of a table.

    Args:
        target: the target column, by name or position; None is the last one, 'none' is none.
        target_kind: what it is.
        categorical: columns to be taken as categories.
        drop: columns to leave out.
        validation: the share held out for validation.
        test: the share held out for testing.
        columns: the only columns of use, where the source knows them.
        newest: the column of times by which the newest rows are held out, None for random ones.
    """

    target: str | int | None
    target_kind: Literal["auto", "label", "real"]
    categorical: tuple[str | int, ...]
    drop: tuple[str | int, ...]
    validation: float
    test: float
    columns: tuple[str, ...] | None = None
    newest: str | None = None


def assembled(choice: Choice, tables: Mapping[Split, Table], settings: Mapping[str, Any]) -> Dataset:
    """The data set of a table for each split; splits without one are drawn from the training rows.

    Args:
        choice: what the columns are.
        tables: the training table, and those of other splits where they have files.
        settings: what `bigtrain predict` needs to know of the file format.
    """
    train = tables["train"]
    target = _target(choice, train)
    categorical = _named("data.categorical", choice.categorical, train)
    used = _used(choice, train, target)
    kinds: dict[str, Kind] = {name: "category" if name in categorical else "auto" for name in used}
    if target is not None:
        asked: dict[str, Kind] = {
            "auto": "category" if target in categorical else "auto", "label": "category", "real": "number"
        }  # fmt: skip
        kinds[target] = asked[choice.target_kind]
    frames = _frames(tables, kinds, choice.newest)
    if not used:
        hint = "set data.delimiter if they are delimited otherwise, or data.target=none for a set without a target"
        raise DataError(train.path, "its rows have no other value than the target", hint=hint)
    kept, notes = _labelled(tables, frames, target)
    kind, hint = implied(frames["train"].columns[target], choice.target_kind) if target else (None, "")
    rows = _split(choice, frames["train"], kept, target if kind == "label" else None)
    for name in (*used, *([target] if target is not None and choice.target_kind == "auto" else [])):
        _check_commas(train.path, frames["train"].columns[name], name, name in categorical)
    for name in used:
        _check_texts(train.path, name, frames["train"], rows["train"], name in categorical)
    used, found = _without_counters(used, frames["train"])
    columns, constant = fitted(frames["train"], used, rows["train"])
    if not columns:
        raise DataError(train.path, "no column is left to predict from", hint="is data.delimiter right?")
    arrays = {split: encoded(tables[split].path, frame, columns) for split, frame in frames.items()}
    every = fields(columns)
    made = _targets(train.path, target, kind, hint, frames, rows["train"]) if target else None
    if made is not None:
        every["targets"] = made.field
        arrays = {split: {**arrays[split], "targets": made.columns[split]} for split in arrays}
    found |= {"left out": f"{_listed(constant)}, of one value"} if constant else {}
    notes |= {"columns": _columns_note(columns), **found} | ({"target": f"{target}: {made.note}"} if made else {})
    known = {**settings, "columns": columns, "target": target, "names": list(train.names)}
    name = Path(str(train.path)).name.split(".")[0] or "table"
    return dataset(
        name, every, _sources(arrays, rows), classes=made.classes if made else None, reader=Reader("table", known),
        notes=notes,
    )  # fmt: skip


def _sources(arrays: Mapping[Split, Mapping[str, np.ndarray]], rows: Rows) -> dict[Split, Source]:
    """Each split's rows: of its own file, or of the training file."""
    return {split: Arrays(arrays.get(split, arrays["train"])).subset(found) for split, found in rows.items()}


def _target(choice: Choice, table: Table) -> str | None:
    if choice.target == "none" and "none" not in table.names:
        return None
    return column_named("data.target", -1 if choice.target is None else choice.target, table.names)


def _used(choice: Choice, table: Table, target: str | None) -> list[str]:
    """The columns that go into the model, in the order of the file."""
    dropped = _named("data.drop", choice.drop, table)
    if target in dropped:
        raise ConfigError("data.drop", f"{target!r} is the target", hint="data.target=… names another column")
    within = choice.columns or table.names
    return [name for name in within if name != target and name not in dropped]


def column_named(key: str, given: str | int, names: Sequence[str]) -> str:
    """The column that a name or a position means.

    Raises:
        ConfigError: if there is none; it names `key`.
    """
    text = str(given)
    if text in names:
        return text
    if re.fullmatch(r"-?\d+", text) and -len(names) <= int(text) < len(names):
        return names[int(text)]
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    raise ConfigError(key, f"no column is called {text!r}", allowed=shown, hint=did_you_mean(text, names))


def _named(key: str, given: Iterable[str | int], table: Table) -> set[str]:
    return {column_named(key, one, table.names) for one in given}


def _frames(tables: Mapping[Split, Table], kinds: dict[str, Kind], newest: str | None) -> dict[Split, Frame]:
    """What is read of each file; that of training decides which columns are numbers."""
    timed: dict[str, Kind] = {newest: "number"} if newest else {}
    frames: dict[Split, Frame] = {"train": tables["train"].read({**kinds, **timed})}
    decided: dict[str, Kind] = {
        name: "number" if isinstance(frames["train"].columns[name], Numbers) else "category" for name in kinds
    }
    for split, table in tables.items():
        absent = [name for name in kinds if name not in table.names]
        if absent:
            problem = f"has no column {absent[0]!r}, and the training file has"
            raise DataError(table.path, problem, hint=did_you_mean(absent[0], table.names))
        if split != "train":
            frames[split] = table.read(decided)
    return frames


def _labelled(
    tables: Mapping[Split, Table], frames: Mapping[Split, Frame], target: str | None
) -> tuple[dict[Split, np.ndarray], dict[str, str]]:
    """The rows that have a target, in each file, and a note of how many haven't."""
    kept: dict[Split, np.ndarray] = {}
    dropped = 0
    for split, frame in frames.items():
        kept[split] = np.arange(frame.length)
        if target is not None:
            kept[split] = np.flatnonzero(~frame.columns[target].absent())
        dropped += frame.length - len(kept[split])
        if not len(kept[split]):
            hint = "data.target=… names another column, or none"
            raise DataError(tables[split].path, f"no row has a value of the target {target!r}", hint=hint)
    return kept, {"unlabelled": f"{dropped:,} rows without {target} were left out"} if dropped else {}


def _split(choice: Choice, frame: Frame, kept: Mapping[Split, np.ndarray], label: str | None) -> Rows:
    """The rows of each split, of its own file or of the training file; classes are cut in proportion."""
    validation = 0.0 if "validation" in kept else choice.validation
    test = 0.0 if "test" in kept else choice.test
    rows = kept["train"]
    sizes = split_sizes(len(rows), validation, test)
    if choice.newest is not None:
        times = frame.columns[choice.newest]
        assert isinstance(times, Numbers)
        ordered = np.argsort(times.values[rows], kind="stable")
        cuts = np.cumsum([sizes["train"], sizes["validation"]])
        parts = dict(zip(SPLITS, np.split(ordered, cuts), strict=True))
    elif label is not None:
        column = frame.columns[label]
        values = column.codes if isinstance(column, Texts) else column.values
        _, classes = np.unique(values[rows], return_inverse=True)
        shares = [sizes[name] / len(rows) for name in ("validation", "test")]  # type: ignore[index]
        parts = stratified_split(classes, *shares)
        if any(sizes[name] and not len(part) for name, part in parts.items()):  # classes too small to be cut
            parts = random_split(len(rows), validation, test)
    else:
        parts = random_split(len(rows), validation, test)
    drawn: dict[Split, np.ndarray] = {split: np.sort(rows[part]) for split, part in parts.items() if len(part)}
    own = {split: found for split, found in kept.items() if split != "train"}
    return {**drawn, **own}


def _check_commas(where: object, column: Column, name: str, categorical: bool) -> None:
    """Refuses numbers with a decimal comma that were read as texts: they would become categories unnoticed."""
    if categorical or isinstance(column, Numbers):
        return
    comma = next((text for text in column.values if COMMA.fullmatch(text.strip())), None)
    if comma is not None and all(as_number(text.replace(",", ".")) is not None for text in column.values):
        hint = f"data.categorical=[{name}] or data.drop=[{name}]"
        if Path(str(where)).suffix.lower() not in PARQUET:  # whose cells have types, and no decimal sign to set
            hint = f"set data.decimal=comma if it is a decimal comma; else {hint}"
        raise DataError(where, f"column {name!r} holds numbers with a comma, such as {comma!r}", hint=hint)


def _check_texts(where: object, name: str, frame: Frame, rows: np.ndarray, categorical: bool) -> None:
    """Refuses dates and free text: a category that never comes again teaches nothing."""
    column = frame.columns[name]
    if categorical or isinstance(column, Numbers):
        return
    hint = f"leave it out: data.drop=[{name}]; or take it as it is: data.categorical=[{name}]"
    if column.values and all(DATE.fullmatch(text) for text in column.values[:DISTINCT]):
        raise DataError(where, f"column {name!r} holds dates, such as {column.values[0]!r}", hint=hint)
    distinct = len(np.unique(column.codes[rows]))
    if distinct > max(DISTINCT, len(rows) / 2):
        problem = f"column {name!r} has {distinct:,} distinct texts in {len(rows):,} rows, too many for categories"
        raise DataError(where, problem, hint=hint)


def _without_counters(names: Sequence[str], frame: Frame) -> tuple[list[str], dict[str, str]]:
    """The columns without a nameless row number, as pandas writes it; a note of those that only count the rows."""
    counters = []
    for name in names:
        column = frame.columns[name]
        if isinstance(column, Numbers) and frame.length > 2 and (np.diff(column.values) == 1).all():
            counters.append(name)
    nameless = [name for name in counters if name.startswith("column ")]
    named = [name for name in counters if name not in nameless]
    notes = {"row number": "the first column, without a name, is left out"} if nameless else {}
    if named:
        notes["row number?"] = f"{_listed(named)} only counts the rows; data.drop=[{','.join(named)}] leaves it out"
    return [name for name in names if name not in nameless], notes


def _targets(
    where: object, name: str, kind: str | None, hint: str, frames: Mapping[Split, Frame], rows: np.ndarray
) -> Targets:
    columns = {split: frame.columns[name] for split, frame in frames.items()}
    return labels(where, name, columns, hint) if kind == "label" else reals(where, name, columns, rows, hint)


def _columns_note(columns: Sequence[Settings]) -> str:
    numbers = [entry for entry in columns if entry["kind"] == "number"]
    gaps = sum(entry["missing"] for entry in numbers)
    found = [f"{len(numbers)} numbers" + (f" ({gaps} with missing values)" if gaps else "")] if numbers else []
    sized = [f"{entry['name']} {len(entry['values']):,}" for entry in columns if entry["kind"] == "category"]
    return "; ".join([*found, *([f"{len(sized)} categories: {_listed(sized)}"] if sized else [])])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
