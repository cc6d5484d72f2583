"""Pairs of sequences as arrays: sources and what each may become, padded, with the vocabularies of both sides.

An example of the training split is one pair; one of the others is a source with all its targets as `references`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.arrays import Arrays, Column, dataset
from bigtrain.data.spec import Dataset, Field, Reader, Source, Split
from bigtrain.data.tokenizer import read_tokenizer, vocabulary_of
from bigtrain.data.vocabulary import Vocabulary

START, END, UNKNOWN = "<start>", "<end>", "<unknown>"
LEVELS = ("characters", "words", "bytes")
REFERENCES = 16  # targets of one source that an answer is compared with, at most


def spaced(text: str, level: str) -> str:
    """A cell without the spaces around it; words are one space apart."""
    return " ".join(text.split()) if level == "words" else text.strip()


def vocabulary(level: str, key: str, texts: Iterable[str], *, target: bool, counts: Counter[str] | None = None,
               min_count: int = 1) -> Vocabulary:  # fmt: skip
    """The symbols of one side.

    Args:
        level: characters, words, bytes, or the file of a tokenizer.
        key: the config path of the level, for messages.
        texts: all texts of this side, as `spaced` gives them.
        target: this side is written, so it has a start and an end.
        counts: how often each word is trained on; rarer than `min_count`, and others, are `<unknown>`.
        min_count: see `counts`.

    Raises:
        ConfigError: for a level that is neither.
        DataError: for a word that is called like a special symbol.
    """
    if level not in LEVELS:
        return _of_tokenizer(level, key, target=target)
    if level == "bytes":
        symbols = [chr(value) for value in range(256)]
    elif level == "characters":
        symbols = sorted(set().union(*texts))
    else:
        found = {word for text in texts for word in text.split(" ")} if counts is None else counts
        symbols = sorted(word for word in found if counts is None or counts[word] >= min_count)
        taken = {START, END, UNKNOWN} & set(symbols)
        if taken:
            raise DataError("data.path", f"{sorted(taken)[0]!r} is a word of the file, and stands for no word here")
    place = {name: len(symbols) + at for at, name in enumerate((START, END) if target else ())}
    unknown = len(symbols) if counts is not None and level == "words" else None
    extra = [*place, *([UNKNOWN] if unknown is not None else [])]
    return Vocabulary(
        (*symbols, *extra), raw=level == "bytes", separator=" " if level == "words" else "",
        start=place.get(START), end=place.get(END), unknown=unknown,
    )  # fmt: skip


def _of_tokenizer(level: str, key: str, *, target: bool) -> Vocabulary:
    """The tokens of a tokenizer's file, with a start and an end for the side that is written."""
    path = Path(level).expanduser()
    if not path.is_file():
        problem = f"{level!r} is no level, and there is no such file"
        hint = "bigtrain data tokenize trains a tokenizer"
        raise ConfigError(key, problem, allowed=(*LEVELS, "the tokenizer.json of a tokenizer"), hint=hint)
    found = vocabulary_of(read_tokenizer(path, key))
    if not target:
        return found
    symbols = (*found.symbols, START, *([END] if found.end is None else []))
    return replace(found, symbols=symbols, start=len(found), end=len(found) + 1 if found.end is None else found.end)


@dataclass(frozen=True)
class Gathered:
    """A column that looks its rows up in a table, so that a source shared by several pairs is stored once."""

    table: np.ndarray
    places: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first, then the shape of one example's value."""
        return (*self.places.shape, *self.table.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """The type that a gather returns."""
        return self.table.dtype

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray:
        found: np.ndarray = self.table[self.places[indices]]
        return found


@dataclass(frozen=True)
class Pairs:
    """Sources as texts, and for each the texts that it may become, in the order of the data; by split."""

    sources: Sequence[str]
    targets: Sequence[Sequence[str]]
    splits: Mapping[Split, np.ndarray]  # which sources


def padded(rows: Sequence[np.ndarray], fill: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Token rows as one array [N, longest], in the smallest type for `size` tokens, and their lengths [N]."""
    lengths = np.array([len(row) for row in rows], np.int32)
    dtype = np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.int32
    table = np.full((len(rows), int(lengths.max())), fill, dtype)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    return table, lengths


def paired(
    name: str, given: Pairs, source: Vocabulary, target: Vocabulary, where: object, notes: Mapping[str, str],
    levels: tuple[str, str],
) -> Dataset:  # fmt: skip
    """The data set of the given pairs.

    Returns:
        `inputs` [S] with `lengths` [], `targets` [T], which end with the end token, with `target_lengths` [] (the end
        among them), and `references` [R, T] where a source has several targets: a source with fewer than R repeats its
        first one.
    """
    sources, source_lengths = padded([source.encode(text, where) for text in given.sources], 0, len(source))
    assert target.end is not None
    first = np.cumsum([0, *(len(texts) for texts in given.targets)])  # the first target of each source in the table
    rows = [np.append(target.encode(text, where), target.end) for texts in given.targets for text in texts]
    table, target_lengths = padded(rows, target.end, len(target))
    accepted = [_distinct(texts) for texts in given.targets]
    most = min(REFERENCES, max(map(len, accepted)))
    places = [np.array([*own[:most], *[0] * (most - len(own))]) for own in accepted]
    references = np.stack([start + own for start, own in zip(first, places, strict=False)])
    splits: dict[Split, Source] = {}
    for split, chosen in given.splits.items():
        pairs = np.concatenate([np.arange(first[at], first[at + 1]) for at in chosen]) if len(chosen) else chosen
        pairs = pairs if split == "train" else first[chosen]
        owners = np.searchsorted(first, pairs, side="right") - 1
        columns: dict[str, Column] = {"inputs": Gathered(sources, owners), "lengths": source_lengths[owners]}
        columns |= {"targets": Gathered(table, pairs), "target_lengths": target_lengths[pairs]}
        if most > 1:
            columns["references"] = Gathered(table, references[owners])
        splits[split] = Arrays(columns)
    tokens = Field(table.shape[1:], str(table.dtype), "tokens")
    fields = {"inputs": Field(sources.shape[1:], str(sources.dtype), "tokens"), "lengths": Field((), "int32", "length")}
    fields |= {"targets": tokens, "target_lengths": Field((), "int32", "length")}
    fields |= {"references": replace(tokens, shape=(most, *tokens.shape))} if most > 1 else {}
    if max(map(len, accepted)) > most:
        notes = {**notes, "references": f"an answer is compared with the first {most} targets of a source"}
    reader = Reader("text", {"level": levels[0] if levels[0] in LEVELS else "tokenizer"})
    return dataset(name, fields, splits, vocabulary=source, target_vocabulary=target, reader=reader, notes=notes)


def _distinct(texts: Sequence[str]) -> list[int]:
    """Places of the texts that weren't there before."""
    found: dict[str, int] = {}
    for at, text in enumerate(texts):
        found.setdefault(text, at)
    return list(found.values())
