"""Texts with a class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data import labelled_texts
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.checks import LABEL_LIMIT
from bigtrain.data.labelled_texts import LabelledTexts, Wanted
from bigtrain.data.spec import Dataset, Field, Reader, Source, Split
from bigtrain.data.splits import random_split
from bigtrain.data.text_encoding import BYTES, Encoding, learnt
from bigtrain.data.tokenizer import read_tokenizer, vocabulary_of
from bigtrain.data.vocabulary import Vocabulary


def text_classification(
    *,
    path: str | None = None,
    text: str | int | None = None,
    label: str | int | None = None,
    header: bool | None = None,
    level: Literal["auto", "words", "characters", "bytes", "tokens"] = "auto",
    tokenizer: str | None = None,
    vocabulary: PositiveInt = 20_000,
    lowercase: bool = True,
    length: PositiveInt = 256,
    encoding: str = "utf-8",
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Texts with a class each: a CSV, TSV or JSON-lines file, or a folder with one folder a class.

    Files or folders called train, validation and test are used as such; what isn't there is held out from the training
    texts, the same ones for every seed. The vocabulary is learnt from the training texts alone.

    Args:
        path: the file, also .gz; a folder of train.csv, test.csv …; or a folder with one folder of .txt files a class.
        text: the column of the texts, by name or place (from 0; -1 is the last); found by itself if it has a usual name
            such as text, or if there are two columns.
        label: the column of the classes, likewise.
        header: whether the first row names the columns; found by itself.
        level: what a token is. `auto`: tokens where there is a tokenizer, else words.
        tokenizer: a tokenizer.json of the tokenizers library; bigtrain data tokenize trains one.
        vocabulary: the most words or characters to know, the commonest ones; all others are <unknown>.
        lowercase: whether case is ignored, unless level=tokens.
        length: the most tokens of a text; what follows them is cut off.
        encoding: how the files are encoded.
        validation: the share of the training texts held out for validation.
        test: the share of the training texts held out for testing.

    Returns:
        `inputs`, tokens [T] filled up with 0; `lengths`, how many of them are the text's; `targets`, the class.
    """
    if path is None:
        hint = "for example: bigtrain fit model=rnn data=text_classification data.path=reviews.csv"
        allowed = "a .csv, .tsv or .jsonl file, or a folder with one folder a class"
        raise ConfigError("data.path", "no file is given", allowed=allowed, hint=hint)
    where, unit = Path(path).expanduser(), _level(level, tokenizer)
    found, empty = _without_empty(where, labelled_texts.read(where, Wanted(text, label, header, encoding)))
    classes, targets = _classes(where, found.labels)
    rows = _rows(found, validation, test)
    symbols, note = _vocabulary([found.texts[at] for at in rows["train"]], unit, tokenizer, lowercase, vocabulary)
    encode, columns, cut = _encoded(where, found.texts, Encoding(unit, symbols, length, lowercase))
    notes = {"vocabulary": note, **found.notes}
    notes |= {"cut": f"{cut:,} texts to {length} tokens (data.length)"} if cut else {}
    notes |= {"empty": f"{empty:,} texts without a word, left out"} if empty else {}
    settings = {"form": "classification", "encoding": encoding, "column": found.column, **encode.settings()}
    source = Arrays({**columns, "targets": targets})
    splits: dict[Split, Source] = {split: source.subset(part) for split, part in rows.items() if len(part)}
    reader = Reader("text", settings)
    return dataset(
        where.stem, _fields(columns), splits, classes=classes, vocabulary=symbols, reader=reader, notes=notes
    )


def _fields(columns: Mapping[str, np.ndarray]) -> dict[str, Field]:
    tokens = columns["inputs"]
    return {
        "inputs": Field(tokens.shape[1:], str(tokens.dtype), "tokens"), "lengths": Field((), "int32", "length"),
        "targets": Field((), "int32", "label"),
    }  # fmt: skip


def _without_empty(where: Path, found: LabelledTexts) -> tuple[LabelledTexts, int]:
    """The set without texts of nothing but white space, and how many those are."""
    full = np.array([bool(text.strip()) for text in found.texts])
    if not full.any():
        raise DataError(where, "all its texts are empty")
    place = np.cumsum(full) - 1
    rows = {split: place[part[full[part]]] for split, part in found.rows.items()}
    texts, labels = (
        [value for value, kept in zip(values, full, strict=True) if kept] for values in (found.texts, found.labels)
    )
    return replace(found, texts=texts, labels=labels, rows=rows), int((~full).sum())


def _rows(found: LabelledTexts, validation: float, test: float) -> dict[Split, np.ndarray]:
    """The texts of each split: those that the files tell, and the rest held out from the training texts."""
    train = found.rows["train"]
    held = (0.0 if "validation" in found.rows else validation, 0.0 if "test" in found.rows else test)
    drawn = {split: train[part] for split, part in random_split(len(train), *held).items()}
    return {**drawn, **{split: part for split, part in found.rows.items() if split != "train"}}


def _level(level: str, tokenizer: str | None) -> str:
    """What a token is; refuses keys that contradict each other."""
    if level == "tokens" and tokenizer is None:
        hint = "train one: bigtrain data tokenize FILES --output DIR, then data.tokenizer=DIR/tokenizer.json"
        raise ConfigError("data.tokenizer", "level=tokens needs a tokenizer", hint=hint)
    if tokenizer is not None and level not in ("auto", "tokens"):
        raise ConfigError("data.level", f"{level!r} can't be had: the tokenizer makes tokens", hint="leave it out")
    return level if level != "auto" else "tokens" if tokenizer else "words"


def _vocabulary(
    texts: Sequence[str], level: str, tokenizer: str | None, lowercase: bool, limit: int
) -> tuple[Vocabulary, str]:
    """The vocabulary, and a note on it."""
    if tokenizer is not None:
        symbols = replace(vocabulary_of(read_tokenizer(Path(tokenizer).expanduser(), "data.tokenizer")), end=None)
        return symbols, f"{len(symbols):,} tokens of {tokenizer}"
    if level == "bytes":
        return BYTES, "256 bytes"
    symbols, distinct = learnt(texts, level, lowercase, limit)
    known = len(symbols) - 1
    return (
        symbols,
        f"{known:,} of {distinct:,} {level} of the training texts" if known < distinct else f"{known:,} {level}",
    )


def _encoded(where: Path, texts: Sequence[str], encode: Encoding) -> tuple[Encoding, dict[str, np.ndarray], int]:
    """Tokens and lengths, and how many texts were cut; rows are no longer than the longest text."""
    rows, lengths, cut = encode(texts, where)
    longest = int(lengths.max())
    columns = {"inputs": np.ascontiguousarray(rows[:, :longest]), "lengths": lengths}
    return replace(encode, length=longest), columns, cut


def _classes(where: Path, labels: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in order, numbers by their value, and the class of each text."""
    distinct = set(labels)
    if len(distinct) == 1:
        raise DataError(where, f"all its texts are of one class, {labels[0]!r}", hint="is data.label the right column?")
    if len(distinct) > max(LABEL_LIMIT, len(labels) // 2) or (len(labels) > 20 and len(distinct) > len(labels) * 0.9):
        problem = f"{len(labels):,} texts have {len(distinct):,} different labels, such as {labels[0][:40]!r}"
        raise DataError(where, problem, hint="name the column of the classes: data.label=…")
    numeric = all(name.isdecimal() for name in distinct)
    names = tuple(sorted(distinct, key=lambda name: (int(name) if numeric else 0, name)))
    place = {name: at for at, name in enumerate(names)}
    return names, np.array([place[label] for label in labels], np.int32)
