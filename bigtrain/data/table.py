"""Tables that the user brings: a row an example, numbers and categories in the columns, one of them the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.config.values import NonNegativeInt, Share
from bigtrain.data.npz import WORDS
from bigtrain.data.spec import Dataset, Split
from bigtrain.data.table_columns import Table
from bigtrain.data.table_files import Delimiter, Format, TextTable, open_text
from bigtrain.data.table_parquet import open_parquet
from bigtrain.data.table_set import Choice, assembled

Opened = TypeVar("Opened", bound=Table)
CSV = (".csv", ".tsv", ".txt", ".data", ".dat", ".gz")
PARQUET = (".parquet", ".pq")


def csv(
    *,
    path: str | None = None,
    target: str | int | None = None,
    target_kind: Literal["auto", "label", "real"] = "auto",
    categorical: tuple[str | int, ...] = (),
    drop: tuple[str | int, ...] = (),
    header: Literal["auto", "yes", "no"] = "auto",
    delimiter: Delimiter = "auto",
    decimal: Literal["point", "comma"] = "point",
    encoding: str = "utf-8",
    skip: NonNegativeInt = 0,
    missing: tuple[str | int | float, ...] = (),
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Your own table as CSV: numbers are standardised, texts become categories, and one column is the target.

    What is done to a column is measured on the training rows alone and kept with the model, so that `bigtrain predict`
    takes a table as it is. A missing number is replaced by the mean, with a 1 in a column of its own; a missing
    category is a category; a row without a target is left out, and counted. Millions of rows are read many times
    faster as Parquet.

    Args:
        path: the file, plain or .gz; or a folder with train.csv, and validation.csv and test.csv where those exist.
        target: the target column, by name or by position (0 is the first, -1 the last); the last one by default. `none`
            leaves the set unlabelled.
        target_kind: what the target is. `auto`: texts are classes, numbers are real; a few whole numbers that recur are
            classes.
        categorical: columns of numbers that are codes, or of mostly distinct texts, to be taken as categories.
        drop: columns to leave out.
        header: whether row 1 names the columns. `auto`: it does if it has no number and none of its values recurs.
        delimiter: what stands between values; `auto` looks. colons is `::`; several spaces count as one.
        decimal: the decimal sign.
        encoding: how the file is encoded.
        skip: lines before the table begins.
        missing: more values that stand for a missing one, beside an empty cell, NA, NaN, null, none and ?.
        validation: the share of the rows held out for validation; of each class, if the target is one.
        test: the share held out for testing.

    Returns:
        `inputs`, float32 [D], the numbers; `categories`, int32 [K]; `targets`. A table of categories alone has them as
        `inputs`.
    """
    hint = "for example: bigtrain fit data=csv data.path=mine.csv data.target=price"
    given = Format(delimiter, header, decimal, encoding, skip, tuple(str(mark) for mark in missing))

    def opened(file: Path) -> TextTable:
        return open_text(file, given)

    tables = _tables(path, CSV, opened, hint)
    settings = {"format": plain_format(tables["train"].format)}
    return assembled(Choice(target, target_kind, categorical, drop, validation, test), tables, settings)


def parquet(
    *,
    path: str | None = None,
    target: str | int | None = None,
    target_kind: Literal["auto", "label", "real"] = "auto",
    categorical: tuple[str | int, ...] = (),
    drop: tuple[str | int, ...] = (),
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Your own table as Parquet: numbers are standardised, texts become categories, and one column is the target.

    All is as with `data=csv`, which says more.

    Args:
        path: the file; or a folder with train.parquet, and validation.parquet and test.parquet where those exist.
        target: the target column, by name or by position (0 is the first, -1 the last); the last one by default. `none`
            leaves the set unlabelled.
        target_kind: what the target is. `auto`: texts are classes, numbers are real; a few whole numbers that recur are
            classes.
        categorical: columns of numbers that are codes, or of mostly distinct texts, to be taken as categories.
        drop: columns to leave out.
        validation: the share of the rows held out for validation; of each class, if the target is one.
        test: the share held out for testing.

    Returns:
        `inputs`, float32 [D], the numbers; `categories`, int32 [K]; `targets`.
    """
    tables = _tables(path, PARQUET, open_parquet, "for example: bigtrain fit data=parquet data.path=mine.parquet")
    settings = {"format": plain_format(Format(header="yes"))}
    return assembled(Choice(target, target_kind, categorical, drop, validation, test), tables, settings)


def plain_format(known: Format) -> dict[str, object]:
    """The format as JSON: a new file may be cut by another delimiter, all else is as in training."""
    return {
        "header": known.header, "decimal": known.decimal, "encoding": known.encoding, "skip": known.skip,
        "missing": list(known.missing),
    }  # fmt: skip


def _tables(
    path: str | None, suffixes: tuple[str, ...], opened: Callable[[Path], Opened], hint: str
) -> Mapping[Split, Opened]:
    """The table of each split that has a file of its own; a single file is that of the training split."""
    if path is None:
        raise ConfigError("data.path", "no file is given", hint=hint)
    where = Path(path).expanduser()
    if not where.is_dir():
        return {"train": opened(where)}
    found: dict[Split, Path] = {}
    for file in sorted(where.iterdir()):
        stem, suffix = file.name.split(".")[0].lower(), file.suffix.lower()
        for split, words in WORDS.items():
            if stem in words and suffix in suffixes:
                if split in found:
                    raise DataError(where, f"both {found[split].name} and {file.name} may be the {split} split")
                found[split] = file
    if "train" not in found:
        problem = f"the folder has no train{suffixes[0]}"
        raise DataError(where, problem, hint=f"data.path names a file, or a folder with train{suffixes[0]}")
    return {split: opened(file) for split, file in found.items()}
