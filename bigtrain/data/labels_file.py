"""A CSV file that says what each file of a folder is labelled with."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean

TargetKind = Literal["auto", "label", "real"]
LABEL_NAMES = ("label", "labels", "class", "target", "category", "y")
LOOKED_AT = 20  # rows in which a column is searched that names files


@dataclass(frozen=True)
class LabelsFile:
    """What a labels file says of the files it names, by their number: the label, and the split if it has such a column.

    `column` is what the label's column is called, or its position.
    """

    where: Path
    column: str
    values: Mapping[int, str]
    splits: Mapping[int, str]

    @classmethod
    def read(cls, where: Path, paths: Sequence[str], file_column: str | None, label_column: str | None) -> LabelsFile:
        """Reads the file; a first line that names no file is the header.

        Args:
            where: the CSV file; commas, semicolons or tabs.
            paths: the files it may name: by path, by name, or without the suffix.
            file_column: the name or position (from 0) of the column of file names; found by itself if None.
            label_column: the same for the labels.
        """
        rows = _rows(where)
        known = _index(paths)
        header = None if any(cell.strip() in known for cell in rows[0][1]) else [cell.strip() for cell in rows[0][1]]
        body = rows[1:] if header else rows
        if not body:
            raise DataError(where, "has a header and no rows")
        width = len(rows[0][1])
        for line, row in body:
            if len(row) != width:
                raise DataError(where, f"line {line} has {len(row)} values, and line {rows[0][0]} has {width}")
        file_at = _place("data.file_column", file_column, header, width)
        if file_at is None:
            file_at = _naming(where, body, known, width)
        split_at = next((at for at, name in enumerate(header or ()) if name.lower() == "split" and at != file_at), None)
        label_at = _place("data.label_column", label_column, header, width)
        if label_at is None:
            label_at = _only(header, [at for at in range(width) if at not in (file_at, split_at)])
        values: dict[int, str] = {}
        for line, row in body:
            at = known.get(row[file_at].strip())
            if at is None:
                raise DataError(where, f"line {line}: there is no file {row[file_at].strip()!r}")
            if at in values:
                raise DataError(where, f"line {line}: {row[file_at].strip()!r} is named twice")
            values[at] = row[label_at].strip()
            if not values[at]:
                raise DataError(where, f"line {line}: {row[file_at].strip()!r} has no label")
        splits = {known[row[file_at].strip()]: row[split_at].strip() for _, row in body} if split_at is not None else {}
        return cls(where, header[label_at] if header else str(label_at), values, splits)


def labels_of(file: LabelsFile, kind: TargetKind) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The labels in the order of the files' numbers: classes as int32, or numbers as float32.

    With `auto`, numbers of which one has a fraction are real targets, and all else are classes.
    """
    texts = [file.values[at] for at in sorted(file.values)]
    try:
        numbers = np.array([float(text) for text in texts])
    except ValueError:
        numbers = None
    whole = numbers is not None and bool((np.isfinite(numbers) & (numbers == np.floor(numbers))).all())
    if kind == "real" or (kind == "auto" and numbers is not None and not whole):
        if numbers is None or not np.isfinite(numbers).all():
            bad = next(text for text in texts if not _finite(text))
            hint = "for classes set data.target_kind=label"
            raise DataError(file.where, f"column {file.column}: {bad!r} is no number", hint=hint)
        return numbers.astype(np.float32), None
    names = sorted(set(texts), key=lambda text: (float(text) if whole else 0.0, text))
    if len(names) < 2:
        raise DataError(file.where, f"column {file.column}: all files have the same label, {names[0]!r}")
    place = {name: at for at, name in enumerate(names)}
    return np.array([place[text] for text in texts], np.int32), tuple(names)


def _rows(where: Path) -> list[tuple[int, list[str]]]:
    """The rows that hold anything, each with its line number."""
    if not where.is_file():
        hint = "data.labels names a CSV file, in the folder or as a path; data.labels=none trains without labels"
        raise DataError(where, "no such labels file", hint=hint)
    try:
        with open(where, encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=max(",;\t", key=first.count))
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise DataError(where, f"is not UTF-8 at byte {error.start}", hint="save the labels as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(where, f"can't be read: {error}") from error
    if not rows:
        raise DataError(where, "is empty")
    return rows


def _index(paths: Sequence[str]) -> dict[str, int]:
    """Each way to name a file, with the file's number; a short way that fits several files isn't one."""
    known: dict[str, int] = {}
    several: set[str] = set()
    for at, path in enumerate(paths):
        pure = PurePosixPath(path)
        for name in {pure.name, pure.stem, str(pure.with_suffix(""))} - {path}:
            several.update({name} if name in known else ())
            known[name] = at
    known = {name: at for name, at in known.items() if name not in several}
    return known | {path: at for at, path in enumerate(paths)} | {f"./{path}": at for at, path in enumerate(paths)}


def _place(key: str, given: str | None, header: Sequence[str] | None, width: int) -> int | None:
    """The position of a column that was given by name or position."""
    if given is None:
        return None
    if header and given in header:
        return header.index(given)
    if given.isdecimal() and int(given) < width:
        return int(given)
    allowed = ", ".join(header) if header else f"0 to {width - 1} (the file has no header)"
    raise ConfigError(key, f"{given!r} is no column", allowed=allowed, hint=did_you_mean(given, header or ()))


def _naming(where: Path, body: Sequence[tuple[int, list[str]]], known: Mapping[str, int], width: int) -> int:
    """The column whose values name files."""
    hits = [sum(row[at].strip() in known for _, row in body[:LOOKED_AT]) for at in range(width)]
    if not max(hits):
        line, row = body[0]
        hint = "give paths relative to data.path, or name the column: data.file_column=…"
        raise DataError(where, f"no column names files of the folder; line {line} is {', '.join(row)[:60]}", hint=hint)
    return hits.index(max(hits))


def _only(header: Sequence[str] | None, candidates: Sequence[int]) -> int:
    """The label's column among the candidates."""
    named = [at for at in candidates if header and header[at].lower() in LABEL_NAMES]
    if len(named) == 1:
        return named[0]
    if len(candidates) == 1:
        return candidates[0]
    allowed = ", ".join(header[at] if header else str(at) for at in candidates)
    problem = "which column holds the label?" if candidates else "there is no column for it"
    raise ConfigError("data.label_column", problem, allowed=allowed or None)


def _finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
