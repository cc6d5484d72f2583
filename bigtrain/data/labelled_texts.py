"""Texts and their labels as they are stored: CSV, TSV, JSON lines, or one folder a class."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean
from bigtrain.data.folders import WORDS, Labels, find
from bigtrain.data.lines import ENCODING, read_lines, read_text
from bigtrain.data.spec import Split

TABLES = (".csv", ".tsv", ".tab", ".txt")
LINES = (".jsonl", ".ndjson")
TEXTS = (
    "text",
    "sentence",
    "review",
    "content",
    "message",
    "body",
    "tweet",
    "document",
    "comment",
    "question",
    "title",
)
LABELS = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "sentiment",
    "topic",
    "author",
    "language",
    "lang",
    "intent",
)
DELIMITERS = "\t;|,"
LONGEST = 1 << 27  # characters of one cell
SHOWN = 60

Column = str | int | None


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with a label each, and the rows of the splits that the files tell."""

    texts: list[str]
    labels: list[str]
    rows: Mapping[Split, np.ndarray]
    column: str | None = None  # where the texts were found, if it has a name
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What the user says of the files."""

    text: Column = None
    label: Column = None
    header: bool | None = None
    encoding: str = "utf-8"
    hint: str = ENCODING


def read(where: Path, wanted: Wanted) -> LabelledTexts:
    """The texts of a file, of a folder of files called train, validation and test, or of a folder of classes.

    Raises:
        DataError: for a file or layout that isn't understood.
        ConfigError: for a column that isn't there, or that only the user can name.
    """
    if not where.exists():
        hint = "data.path names a .csv, .tsv or .jsonl file, or a folder with one folder a class"
        raise DataError(where, "no such file or folder", hint=hint)
    if not where.is_dir():
        texts, labels, column = _file(where, wanted)
        return LabelledTexts(texts, labels, {"train": np.arange(len(texts))}, column)
    files = [file for file in sorted(where.iterdir()) if file.suffix.lower() in (*TABLES, *LINES) and file.is_file()]
    named: dict[Split, Path] = {WORDS[file.stem.lower()]: file for file in files if file.stem.lower() in WORDS}
    return _files(named, wanted) if "train" in named else _folders(where, wanted)


def _files(named: Mapping[Split, Path], wanted: Wanted) -> LabelledTexts:
    texts: list[str] = []
    labels: list[str] = []
    rows: dict[Split, np.ndarray] = {}
    column = None
    for split, file in named.items():
        more, marks, found = _file(file, wanted)
        column = found if split == "train" else column
        rows[split] = np.arange(len(texts), len(texts) + len(more))
        texts, labels = texts + more, labels + marks
    return LabelledTexts(texts, labels, rows, column)


def _folders(where: Path, wanted: Wanted) -> LabelledTexts:
    """One folder a class, of .txt files."""
    for key in ("text", "label", "header"):
        if getattr(wanted, key) is not None:
            raise ConfigError(f"data.{key}", f"{where} has one folder a class, and no columns", hint="leave it out")
    found = find(where, "texts", (".txt",), Labels())
    if found.labels is None or found.classes is None:
        raise DataError(where, "has no folders of classes", hint="put the .txt files into one folder a class")
    texts = [read_text(found.root / path, wanted.encoding, hint=wanted.hint) for path in found.paths]
    return LabelledTexts(
        texts, [found.classes[label] for label in found.labels.tolist()], found.rows, None, found.notes
    )  # fmt: skip


def _file(where: Path, wanted: Wanted) -> tuple[list[str], list[str], str | None]:
    """Texts, labels, and the name of the texts' column."""
    suffix = Path(where.stem).suffix.lower() if where.suffix.lower() == ".gz" else where.suffix.lower()
    if suffix not in (*TABLES, *LINES):
        hint = f"it reads {' '.join((*TABLES, *LINES))}, also .gz, or a folder with one folder a class"
        raise DataError(where, f"is no table of texts: {suffix or 'it has no suffix'}", hint=hint)
    names, rows = json_lines(where, wanted) if suffix in LINES else table(where, wanted)
    if not rows:
        raise DataError(where, "has no texts")
    text, label = _columns(where, wanted, names, [row for _, row in rows])
    for number, row in rows:
        if not row[label].strip():
            raise DataError(where, f"line {number}: the text has no label", hint="label it, or remove it")
    return [row[text] for _, row in rows], [row[label].strip() for _, row in rows], names[text] if names else None


Rows = list[tuple[int, list[str]]]  # each with the number of the line it ends in


def table(where: Path, wanted: Wanted, *, narrow: bool = False) -> tuple[list[str] | None, Rows]:
    """The header, if there is one, and the rows below it; all are equally wide, a single column if that may be."""
    content = read_text(where, wanted.encoding, hint=wanted.hint)
    rows = _parsed(where, content, narrow=narrow)
    for number, row in rows:
        if len(row) != len(rows[0][1]):
            problem = f"line {number} has {len(row)} cells, and line {rows[0][0]} has {len(rows[0][1])}"
            raise DataError(where, problem, hint="put texts that hold the delimiter or a line end in double quotes")
    if rows and _has_header(wanted, [row for _, row in rows]):
        return [cell.strip() for cell in rows[0][1]], rows[1:]
    return None, rows


def _parsed(where: Path, content: str, *, narrow: bool) -> Rows:
    """The rows of a table. A lone quotation mark in a TSV, where few quote their texts, stands for itself."""
    first = next((line for line in content.split("\n") if line.strip()), "")
    tab = where.suffix.lower() in (".tsv", ".tab") or "\t" in first
    delimiter = "\t" if tab else max(DELIMITERS, key=first.count)
    if first.count(delimiter) == 0 and not narrow:
        hint = "it needs a column of texts and one of labels, between them a comma, semicolon or tab"
        raise DataError(where, f"has a single column: {first[:SHOWN]!r}", hint=hint)
    csv.field_size_limit(LONGEST)
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=quoting, strict=not tab)
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise DataError(where, f"line {reader.line_num}: {error}", hint="is a quotation mark left open?") from error
        swallowed = any("\t" in cell and "\n" in cell for _, row in rows for cell in row)
        if not tab or not (swallowed or len({len(row) for _, row in rows}) > 1):
            break
    return rows


def _has_header(wanted: Wanted, rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: it has a usual name, or a label like no other."""
    if wanted.header is not None:
        return wanted.header
    first = [cell.strip().lower() for cell in rows[0]]
    if any(isinstance(column, str) for column in (wanted.text, wanted.label)):
        return True
    if set(first) & {*TEXTS, *LABELS}:
        return True
    at = wanted.label if isinstance(wanted.label, int) else _fewest(rows[1:]) if len(rows) > 1 else 0
    if not -len(first) <= at < len(first):
        return False
    others = [row[at] for row in rows[1:]]
    return len(set(others)) < len(others) // 2 and rows[0][at] not in others


def _fewest(rows: Sequence[Sequence[str]]) -> int:
    """The column with the fewest distinct cells; of several, the one that is shorter, or the last."""
    return min(
        range(len(rows[0])), key=lambda at: (len({row[at] for row in rows}), sum(len(row[at]) for row in rows), -at)
    )


def json_lines(where: Path, wanted: Wanted) -> tuple[list[str], Rows]:
    """The fields of the first object, and each object's values as text."""
    names: list[str] = []
    rows: Rows = []
    for number, line in enumerate(read_lines(where, wanted.encoding, hint=wanted.hint), 1):
        if not line.strip():
            continue
        try:
            found: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(where, f"line {number} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise DataError(where, f"line {number} is no JSON object", hint='a line: {"text": "…", "label": "…"}')
        names = names or list(found)
        missing = [name for name in names if name not in found]
        if missing:
            raise DataError(where, f"line {number} has no {missing[0]!r}")
        rows.append((number, ["" if found[name] is None else str(found[name]) for name in names]))
    return names, rows


def _columns(
    where: Path, wanted: Wanted, names: Sequence[str] | None, rows: Sequence[Sequence[str]]
) -> tuple[int, int]:
    """The places of text and label: as given, by their usual names, or as the two columns differ."""
    width = len(rows[0])
    text = _place("text", wanted.text, names, width, TEXTS)
    label = _place("label", wanted.label, names, width, LABELS)
    if width == 2 and (text is None or label is None):
        if text is None and label is None:
            label = _fewest(rows)
        text, label = (1 - label, label) if text is None and label is not None else (text, 1 - (text or 0))
    for key, found in (("text", text), ("label", label)):
        if found is None:
            known = ", ".join(names) if names else f"0 to {width - 1}"
            raise ConfigError(f"data.{key}", f"several columns of {where} may be the {key}", allowed=known)
    assert text is not None
    assert label is not None
    if text == label:
        raise ConfigError("data.label", f"the column is the text's too: {names[text] if names else text}")
    return text, label


def _place(key: str, given: Column, names: Sequence[str] | None, width: int, usual: Sequence[str]) -> int | None:
    """The place of a column; None if it isn't given and none has a usual name."""
    if given is None:
        lower = [name.lower() for name in names or ()]
        return next((lower.index(name) for name in usual if name in lower), None)
    if names and str(given) in names:
        return names.index(str(given))
    if isinstance(given, int) and -width <= given < width:
        return given % width
    known = [*(names or ()), f"0 to {width - 1}"]
    hint = did_you_mean(str(given), names or ())
    raise ConfigError(f"data.{key}", f"there is no column {given!r}", allowed=", ".join(known), hint=hint)
