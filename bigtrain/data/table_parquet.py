"""Parquet files read column by column into the same typed columns as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.bounds import check_regular
from bigtrain.data.checks import check_memory
from bigtrain.data.table_columns import Column, Frame, Kind, Numbers, Texts

HINT = "pip install 'bigtrain[tables]'"


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file; one column at a time is read."""

    path: Path
    names: tuple[str, ...]

    def read(self, kinds: Mapping[str, Kind]) -> Frame:
        """The columns that `kinds` names; those of numbers are numbers unless asked for as categories.

        Raises:
            DataError: for a column of dates, lists or bytes, or one of texts where numbers are needed.
        """
        from pyarrow import ArrowException, parquet

        try:
            with parquet.ParquetFile(self.path) as file:
                length = file.metadata.num_rows
                check_memory(self.path, length * len(kinds) * 8, "use a part of it")  # 8 bytes: a float64, or a code
                columns = {
                    name: self._column(name, file.read([name]).column(0), kind)
                    for name, kind in kinds.items()
                    if name in self.names
                }
        except (ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error
        if not length:
            raise DataError(self.path, "has no rows")
        return Frame(columns, length)

    def _column(self, name: str, stored: Any, kind: Kind) -> Column:
        import pyarrow
        from pyarrow import types

        if types.is_dictionary(stored.type):
            stored = stored.cast(stored.type.value_type)
        found = stored.type
        numeric = types.is_integer(found) or types.is_floating(found) or types.is_decimal(found)
        if (types.is_boolean(found) or types.is_null(found)) and kind != "category":
            numeric, stored = True, stored.cast(pyarrow.float64())
        if numeric and kind != "category":
            values = stored.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
            infinite = np.flatnonzero(np.isinf(values))
            if len(infinite):
                problem = f"row {infinite[0] + 1}: {values[infinite[0]]} in column {name!r} is not finite"
                raise DataError(self.path, problem, hint="a null stands for a missing value")
            return Numbers(values, whole=types.is_integer(found))
        if kind == "number":
            raise DataError(self.path, f"column {name!r} holds {found}, and numbers are needed")
        if not (numeric or types.is_string(found) or types.is_large_string(found) or types.is_boolean(found)):
            hint = f"leave it out: data.drop=[{name}]"
            raise DataError(
                self.path, f"column {name!r} holds {found}, which is neither a number nor a text", hint=hint
            )
        coded = stored.cast(pyarrow.string()).combine_chunks().dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return Texts(codes.astype(np.int32), tuple(coded.dictionary.to_pylist()))


def open_parquet(path: Path) -> ParquetTable:
    """The table with the names of its columns.

    Raises:
        DataError: without pyarrow, for a file that is no Parquet, or one with two columns of one name.
    """
    if path.is_dir() or not path.exists():
        problem = "is a folder, not a Parquet file" if path.is_dir() else "no such file"
        raise DataError(path, problem, hint="data.path names a Parquet file")
    check_regular(path)
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(path, "Parquet is read by pyarrow, which isn't installed", hint=HINT) from error
    try:
        names = tuple(parquet.read_schema(path).names)
    except (ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise DataError(path, f"two columns are called {twice!r}", hint="rename one of them")
    return ParquetTable(path, names)


def _damaged(path: Path, error: Exception) -> DataError:
    text = " ".join(str(error).split())[:120]
    return DataError(path, f"is no whole Parquet file: {text}", hint="data=csv reads CSV; or was the file cut short?")
