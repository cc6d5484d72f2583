"""CSV files read into typed columns: numbers as float64, everything else as codes of its distinct values."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn, TextIO

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data import bounds
from bigtrain.data.lines import encoding_hint
from bigtrain.data.table_columns import Column, Frame, Kind, Numbers, Texts

Delimiter = Literal["auto", "comma", "semicolon", "tab", "pipe", "space", "colons"]
DELIMITERS = {"tab": "\t", "semicolon": ";", "pipe": "|", "comma": ",", "space": " ", "colons": "::"}
GUESSED = ("colons", "tab", "semicolon", "pipe", "comma")  # the comma last: it may be a decimal comma
MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "?"))
UNIT = "\x1f"  # stands for `::`, since Python's reader takes one character; no text has it
SAMPLE = 200  # rows from which delimiter and header are guessed
CHUNK = 1 << 13  # rows converted at once: cells are Python strings only for so long
SHOWN = 40  # characters of a cell in a message


@dataclass(frozen=True)
class Format:
    """How the text of a table is to be read."""

    delimiter: Delimiter = "auto"
    header: Literal["auto", "yes", "no"] = "auto"
    decimal: Literal["point", "comma"] = "point"
    encoding: str = "utf-8"
    skip: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextTable:
    """A CSV file whose delimiter and header are known.

    Args:
        path: the file, plain or gzipped.
        format: with nothing left to guess.
        names: of the columns, in order; "0", "1", … without a header.
    """

    path: Path
    format: Format
    names: tuple[str, ...]

    def read(self, kinds: Mapping[str, Kind]) -> Frame:
        """The columns that `kinds` names; `auto` is number or category as the cells say.

        Raises:
            DataError: for a row of another width, or a cell that is no number in a column of numbers.
        """
        collectors = [
            (at, _Collector(self.path, name, kinds[name], self.format))
            for at, name in enumerate(self.names)
            if name in kinds
        ]
        total, free = 0, bounds.available_memory()
        for numbers, rows in self._chunks():
            total += len(rows)
            bounds.check_cells(self.path, total * len(collectors), free)
            for at, collector in collectors:
                collector.add([row[at] for row in rows], numbers)
        if not total:
            raise DataError(self.path, "has no rows below its header" if self.format.header == "yes" else "has no rows")
        return Frame({collector.name: collector.column() for _, collector in collectors}, total)

    def _chunks(self) -> Iterator[tuple[list[int], list[list[str]]]]:
        """Rows and their numbers in the file, counted from 1; a row of another width is an error."""
        width, found = len(self.names), _rows(self.path, self.format)
        if self.format.header == "yes":
            next(found, None)
        while chunk := list(itertools.islice(found, CHUNK)):
            for number, row in chunk:
                if len(row) != width:
                    problem = f"row {number} has {_cells(len(row))}, and row {1 + self.format.skip} has {width}"
                    hint = "put a value that holds the delimiter in double quotes, or set data.delimiter"
                    if number == 2 + self.format.skip:
                        hint = f"if row 1 is no row of the table: data.skip={1 + self.format.skip}; else {hint}"
                    raise DataError(self.path, problem, hint=hint)
            yield [number for number, _ in chunk], [row for _, row in chunk]


@dataclass
class _Collector:
    """One column as it is read, chunk by chunk."""

    path: Path
    name: str
    kind: Kind
    format: Format
    parts: list[np.ndarray] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    texts: bool = False
    numeric: bool = False  # a number was seen
    pointed: bool = False  # a number with a decimal sign was seen
    first: tuple[int, str] = (0, "")  # the first cell that is no number, with its row

    def add(self, cells: list[str], rows: Sequence[int]) -> None:
        """Takes the cells of a chunk."""
        if self.kind == "category":
            self.texts = True
        if not self.texts and self._added_numbers(cells, rows):
            return
        if not self.texts:
            if self.kind == "number" or self.numeric:
                self._refuse()
            self.texts = True
            self.parts = [np.full(len(part), -1, np.int32) for part in self.parts]
        known, extra = self.codes, self.format.missing
        stripped = [cell.strip() for cell in cells]
        for cell in [cell for cell in dict.fromkeys(stripped) if cell not in known]:
            known[cell] = -1 if cell.lower() in MISSING or cell in extra else len(known)
        self.parts.append(np.fromiter(map(known.__getitem__, stripped), np.int32, len(stripped)))

    def _added_numbers(self, cells: list[str], rows: Sequence[int]) -> bool:
        """Whether all cells are numbers or missing, and if so adds them."""
        cells = [cell.replace(",", ".") for cell in cells] if self.format.decimal == "comma" else cells
        try:
            if self.format.missing:
                raise ValueError
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            made = np.empty(len(cells))
            for at, cell in enumerate(cells):
                found = as_number(cell, self.format.missing)
                if found is None:
                    self.first = (rows[at], cell.strip())
                    return False
                made[at] = found
            values = made
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            problem = f"row {rows[infinite[0]]}: {cells[infinite[0]].strip()[:SHOWN]!r} in column {self.name!r}"
            raise DataError(self.path, f"{problem} is not finite", hint="an empty cell stands for a missing value")
        self.numeric = self.numeric or not np.isnan(values).all()
        if not self.pointed:  # "1e3" is as much a float as "1.5" is
            self.pointed = "." in "".join(cells) or any("e" in cell.lower() for cell in cells if cell[:1].isdigit())
        self.parts.append(values)
        return True

    def column(self) -> Column:
        """What was read."""
        values = np.concatenate(self.parts)
        if not self.texts:
            return Numbers(values, whole=not self.pointed)
        ordered = [text for text, code in self.codes.items() if code >= 0]
        remap = np.full(len(self.codes) + 1, -1, np.int32)  # the last one is that of missing values
        remap[[self.codes[text] for text in ordered]] = np.arange(len(ordered), dtype=np.int32)
        found = Texts(remap[values], tuple(ordered))
        if self.kind == "auto":
            self._check_mixed(found)
        return found

    def _check_mixed(self, found: Texts) -> None:
        """Refuses a column of which most cells are numbers: the others would make a category of each number."""
        numbers = [as_number(text) is not None for text in found.values]
        counts = np.bincount(found.codes[found.codes >= 0], minlength=len(found.values))
        if counts[numbers].sum() > counts.sum() / 2:
            self._refuse()

    def _refuse(self) -> NoReturn:
        row, cell = self.first
        problem = f"row {row}: {cell[:SHOWN]!r} in column {self.name!r} is no number"
        if self.kind == "number":
            raise DataError(self.path, problem, hint="numbers are needed there; an empty cell is a missing value")
        quoted = self.name if self.name.isidentifier() else repr(self.name)
        choices = [
            "data.missing=[…] if it stands for a missing value",
            f"data.categorical=[{quoted}] if it is a category",
        ]
        if "," in cell and self.format.decimal == "point" and as_number(cell.replace(",", ".")) is not None:
            choices = ["data.decimal=comma if it is a decimal comma"]
        choices += [f"data.skip={row} if the table begins below it"] if row == 1 + self.format.skip else []
        raise DataError(self.path, problem, hint="set " + ", or ".join(choices))


def open_text(path: Path, given: Format) -> TextTable:
    """The table with its delimiter and header found where they aren't given.

    Raises:
        DataError: for a file that is no table, or has two columns of one name.
    """
    if not path.is_file():
        raise DataError(path, "no such file", hint="data.path names a CSV file")
    sample = list(itertools.islice(_lines(path, given), SAMPLE))
    if not any(line.strip() for line in sample):
        raise DataError(path, "is empty", hint="data.path names a CSV file")
    known = given if given.delimiter != "auto" else replace(given, delimiter=_guessed(path, sample))
    rows = [row for _, row in itertools.islice(_rows(path, known), SAMPLE)]
    header = given.header == "yes" or (given.header == "auto" and _has_header(rows, given))
    names = tuple(cell.strip() for cell in rows[0]) if header else tuple(str(at) for at in range(len(rows[0])))
    if header:
        names = tuple(name or f"column {at}" for at, name in enumerate(names))  # pandas leaves that of its index empty
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            hint = "rename one of them; or data.header=no if row 1 is no header"
            raise DataError(path, f"two columns are called {twice[:SHOWN]!r}", hint=hint)
    return TextTable(path, replace(known, header="yes" if header else "no"), names)


def _guessed(path: Path, sample: list[str]) -> Delimiter:
    """The first delimiter that cuts all the rows of a sample into equally many cells, more than one."""
    body = sample[:-1] if len(sample) == SAMPLE else sample  # the last one may go on in the next line
    likely: Delimiter = "comma"
    most = 0.0
    for name in (*GUESSED, "space"):
        if name == "space" and most > 0:  # stands beside many another delimiter, and in texts
            break
        widths = [len(row) for row in _parsed(path, body, DELIMITERS[name]) if row]
        wide = [width for width in widths if width > 1]
        agreeing = widths.count(max(set(wide), key=wide.count)) / len(widths) if wide else 0.0
        if agreeing > most:
            likely, most = name, agreeing  # type: ignore[assignment]
    return likely


def _has_header(rows: list[list[str]], given: Format) -> bool:
    """Whether the first row names the columns: it has no number, and no value that its column has again."""
    first, body = rows[0], rows[1:]
    if any(as_number(_pointed(cell, given), given.missing) is not None and cell.strip() for cell in first):
        return False
    wide = [row for row in body if len(row) == len(first)]
    if any(
        as_number(_pointed(row[at], given)) is not None for row in wide for at in range(len(first)) if row[at].strip()
    ):
        return True
    return not any(row[at].strip() == cell.strip() for row in wide for at, cell in enumerate(first))


def _pointed(cell: str, given: Format) -> str:
    return cell.replace(",", ".") if given.decimal == "comma" else cell


def as_number(cell: str, missing: Iterable[str] = ()) -> float | None:
    """A cell as a number, NaN where it is missing, None where it is something else."""
    text = cell.strip()
    if text.lower() in MISSING or text in missing:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _rows(path: Path, known: Format) -> Iterator[tuple[int, list[str]]]:
    """The rows that aren't empty, with their numbers."""
    found = _parsed(path, _lines(path, known), DELIMITERS[known.delimiter])
    return ((number, row) for number, row in enumerate(found, 1 + known.skip) if row)


def _parsed(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    if len(delimiter) > 1:
        lines, delimiter = (line.replace("::", UNIT) for line in lines), UNIT
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        yield from reader
    except csv.Error as error:
        hint = "a quotation mark may be open; each must be closed, or doubled inside a value"
        raise DataError(path, f"line {reader.line_num}: {error}", hint=hint) from error


def _lines(path: Path, known: Format) -> Iterator[str]:
    """The lines of a text, without those to skip; anything that is no text is one clear error."""
    packed = bounds.is_gzip(path)
    name = "utf-8-sig" if known.encoding.lower() in ("utf-8", "utf8") else known.encoding
    try:
        with gzip.open(path, "rt", -1, name, newline="") if packed else open(path, encoding=name, newline="") as stream:
            yield from itertools.islice(_checked(path, stream), known.skip, None)
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not {known.encoding}: {error.reason}", hint=encoding_hint(path)) from error
    except LookupError as error:
        problem = f"no encoding is called {known.encoding!r}"
        raise ConfigError("data.encoding", problem, hint="utf-8 is usual") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(path, f"is not a whole gzip file: {error}", hint="was the file cut short?") from error


def _checked(path: Path, stream: TextIO) -> Iterator[str]:
    for line in bounds.lines(path, stream):
        if "\0" in line:
            hint = "data=parquet reads Parquet, data=npz NumPy's files; or set data.encoding, for example utf-16"
            raise DataError(path, "is no text: it has NUL bytes", hint=hint)
        yield line


def _cells(number: int) -> str:
    return f"{number} value" + ("s" if number != 1 else "")
