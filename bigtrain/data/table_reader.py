"""A user's own table as inputs of a trained model: columns by name, in any order, as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import DataError, InputError, did_you_mean
from bigtrain.data.spec import Spec
from bigtrain.data.table_columns import Kind, Settings, Table, encoded, fields
from bigtrain.data.table_files import Format, TextTable, open_text
from bigtrain.data.table_parquet import ParquetTable, open_parquet

PARQUET = (".parquet", ".pq")
READS = (".csv", ".tsv", ".txt", ".data", ".dat", ".gz", *PARQUET)


def read_table(path: Path, spec: Spec) -> dict[str, np.ndarray]:
    """The rows of a CSV or Parquet file as a batch: encoded as the training rows were, whatever else is in the file.

    The target column may be there and is not looked at. A file without a header has either all the columns of the
    training file, or those that the model reads, in their order.

    Raises:
        DataError: for a missing column, named, or a cell that is no number where numbers are needed.
    """
    assert spec.reader is not None
    known = dict(spec.reader.settings)
    columns, given, names = _checked(known, spec)
    if path.suffix.lower() not in READS:
        problem = f"can't read {path.suffix or 'a file without a suffix'}: the model was trained on a table"
        raise DataError(path, problem, hint=f"it reads {' '.join(READS)}")
    table: Table = open_parquet(path) if path.suffix.lower() in PARQUET else open_text(path, given)
    if given.header == "no":
        table = _renamed(table, names, [entry["name"] for entry in columns])
    absent = [entry["name"] for entry in columns if entry["name"] not in table.names]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        problem = f"has no column {absent[0]!r}{more}, which the model reads"
        raise DataError(path, problem, hint=None if more else did_you_mean(absent[0], table.names))
    kinds: dict[str, Kind] = {entry["name"]: entry["kind"] for entry in columns}
    return encoded(path, table.read(kinds), columns)


def _renamed(table: Table, names: Sequence[str], needed: Sequence[str]) -> Table:
    """A table without a header, with its columns called as in training."""
    assert isinstance(table, TextTable | ParquetTable)
    width = len(table.names)
    if isinstance(table, ParquetTable) or width == len(names):
        return table
    if width != len(needed):
        problem = f"has {width} columns without names; the training file had {len(names)}"
        raise DataError(table.path, problem, hint=f"give all of them, or the {len(needed)} that the model reads")
    return TextTable(table.path, table.format, tuple(needed))


def _checked(known: Mapping[str, Any], spec: Spec) -> tuple[list[Settings], Format, list[str]]:
    """The settings, if a table wrote them: a run directory may come from a stranger."""
    try:
        columns = [_column(entry) for entry in known["columns"]]
        names = [_demanded(name, isinstance(name, str)) for name in known["names"]]
        form = known["format"]
        made = Format(
            header=_demanded(form["header"], form["header"] in ("yes", "no")),
            decimal=_demanded(form["decimal"], form["decimal"] in ("point", "comma")),
            encoding=_demanded(form["encoding"], isinstance(form["encoding"], str)),
            skip=_demanded(form["skip"], type(form["skip"]) is int and form["skip"] >= 0),
            missing=tuple(_demanded(mark, isinstance(mark, str)) for mark in form["missing"]),
        )
        wanted = {name: field for name, field in spec.fields.items() if name in ("inputs", "categories")}
        found = fields(columns)
        same = {name: (field.shape, field.kind, field.sizes) for name, field in found.items()}
        _demanded("columns", same == {name: (field.shape, field.kind, field.sizes) for name, field in wanted.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"spec.json: the settings of its reader are no table's: {str(error)[:100]}") from error
    return columns, made, names


def _column(entry: Any) -> Settings:
    _demanded(entry, isinstance(entry, dict) and isinstance(entry["name"], str))
    if entry["kind"] == "number":
        for name in ("mean", "deviation"):
            _demanded(name, type(entry[name]) in (int, float) and math.isfinite(entry[name]))
        _demanded("deviation", entry["deviation"] > 0)
        _demanded("missing", isinstance(entry["missing"], bool))
    else:
        _demanded(entry["kind"], entry["kind"] == "category" and isinstance(entry["values"], list))
        _demanded("values", all(value is None or isinstance(value, str) for value in entry["values"]))
    return dict(entry)


def _demanded(value: Any, met: bool) -> Any:
    if not met:
        raise ValueError(f"{value!r}")
    return value
