"""Pairs of texts from a file of tab-separated columns: a source and what it becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean
from bigtrain.config.values import NonNegativeInt, PositiveInt, Share
from bigtrain.data import sequence_pairs as both
from bigtrain.data.lines import read_lines
from bigtrain.data.spec import Dataset, Split
from bigtrain.data.splits import random_split

HEADS = ("source", "src", "input", "question", "from", "word", "grapheme", "target", "tgt", "output", "answer", "to")
FILES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
SUFFIXES = (".tsv", ".txt", ".tsv.gz", ".txt.gz")


def pairs(
    *,
    path: str | None = None,
    source: NonNegativeInt | str = 0,
    target: NonNegativeInt | str = 1,
    header: Literal["auto", "yes", "no"] = "auto",
    source_level: str = "characters",
    target_level: str = "characters",
    min_count: PositiveInt = 1,
    max_length: PositiveInt | None = None,
    encoding: str = "utf-8",
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Your own pairs of texts, one a line with a tab between: translations, pronunciations, questions and answers.

    A source may come with several targets, each on a line of its own: all are trained on, and in evaluation any of them
    is right. All targets of a source are in the same split.

    Args:
        path: a file of tab-separated columns, plain or .gz; or a folder of train.tsv and, if there are,
            validation.tsv and test.tsv.
        source: the column of the sources: its name, or its place counted from 0.
        target: the column of the targets.
        header: whether the first line names the columns; auto says so where a column is asked for by name, or the
            line's two cells are usual names such as source and target.
        source_level: what a token of the source is: characters, words (between spaces), bytes, or the file of a
            tokenizer (tokenizer.json).
        target_level: the same for the target.
        min_count: words that the training sources have less often are read as one unknown word, as are new ones.
        max_length: pairs of which a side has more tokens are left out, and a note says how many; by default none are.
        encoding: how the file is encoded.
        validation: the share of the distinct sources held out for validation, where there is no file for it.
        test: the share held out for testing.

    Returns:
        `inputs` and `targets`, tokens, with `lengths` and `target_lengths`; `references` where a source has several
        targets. In validation and testing an example is a source, in training a pair.
    """
    if path is None:
        hint = "for example: bigtrain fit model=seq2seq data=pairs data.path=mine.tsv"
        raise ConfigError("data.path", "no file is given", allowed="a .tsv, or a folder with a train.tsv", hint=hint)
    where, levels = Path(path).expanduser(), (source_level, target_level)
    columns = Columns(source, target, header, encoding)
    found = {split: columns.read(file, levels) for split, file in _files(where).items()}
    grouped = {split: _grouped(rows) for split, rows in found.items()}
    splits, shared = _split(grouped, validation, test)
    counts = Counter(w for text in splits["train"] for w in text.split(" ")) if source_level == "words" else None
    sources = [text for part in splits.values() for text in part]
    targets = [texts for part in splits.values() for texts in part.values()]
    symbols = both.vocabulary(
        source_level, "data.source_level", sources, target=False, counts=counts, min_count=min_count
    )
    written = both.vocabulary(
        target_level, "data.target_level", [text for texts in targets for text in texts], target=True
    )
    made, notes = _kept(splits, max_length, (symbols, written), where)
    notes |= {"splits": f"{shared:,} sources of the training file are in another one too"} if shared else {}
    return both.paired(where.stem, made, symbols, written, where, notes, levels)


@dataclass(frozen=True)
class Columns:
    """Which two columns of a file are read, and how."""

    source: int | str
    target: int | str
    header: Literal["auto", "yes", "no"]
    encoding: str

    def read(self, path: Path, levels: tuple[str, str]) -> list[tuple[str, str]]:
        """The pairs of a file in order."""
        rows = [(at, line.split("\t")) for at, line in enumerate(read_lines(path, self.encoding), 1) if line.strip()]
        if not rows:
            raise DataError(path, "holds no pairs", hint="one pair a line, with a tab between its texts")
        places = (0, 1)
        named = any(isinstance(column, str) for column in (self.source, self.target))
        if named and self.header == "no":
            raise ConfigError("data.header", "'no' leaves no names", hint="give data.source and data.target as places")
        head = [cell.strip() for cell in rows[0][1]]
        usual = len(head) > 1 and all(cell.lower() in HEADS for cell in head[:2])
        if named or self.header == "yes" or (self.header == "auto" and usual):
            rows = rows[1:]
            places = (self._place(path, "source", head), self._place(path, "target", head))
        else:
            places = (int(self.source), int(self.target))
        found = []
        for at, cells in rows:
            if len(cells) <= max(places):
                hint = "a tab stands between the columns" if len(cells) == 1 else "data.source and data.target choose"
                problem = f"line {at} has {len(cells)} column{'s' * (len(cells) > 1)}, and column {max(places)} is read"
                raise DataError(path, f"{problem} (counted from 0)", hint=hint)
            pair = tuple(both.spaced(cells[place], level) for place, level in zip(places, levels, strict=True))
            for text, name in zip(pair, ("source", "target"), strict=True):
                if not text:
                    raise DataError(path, f"line {at}: its {name} is empty", hint="remove the line, or complete it")
            found.append((pair[0], pair[1]))
        if not found:
            raise DataError(path, "holds no pairs below its header", hint="if it has none set data.header=no")
        return found

    def _place(self, path: Path, role: str, head: Sequence[str]) -> int:
        column: int | str = getattr(self, role)
        if isinstance(column, int):
            return column
        if column in head:
            return head.index(column)
        problem = f"{path} has no column {column!r}"
        raise ConfigError(f"data.{role}", problem, allowed=head[:20], hint=did_you_mean(column, head))


def _files(where: Path) -> dict[Split, Path]:
    """The file of each split: one for all, or those that a folder has."""
    if not where.is_dir():
        return {"train": where}
    known = {entry.name.lower(): entry for entry in where.iterdir()}
    found: dict[Split, Path] = {}
    for split, words in FILES.items():
        names = [word + suffix for word in words for suffix in SUFFIXES if word + suffix in known]
        if names:
            found[split] = known[names[0]]
    if "train" not in found:
        raise DataError(where, "has no train.tsv", hint="data.path names a file of pairs, or a folder with a train.tsv")
    return found


def _grouped(rows: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The targets of each distinct source, both in the order of the file."""
    grouped: dict[str, list[str]] = {}
    for source, target in rows:
        grouped.setdefault(source, []).append(target)
    return grouped


Grouped = Mapping[str, Sequence[str]]


def _split(given: Mapping[Split, Grouped], validation: float, test: float) -> tuple[dict[Split, Grouped], int]:
    """The sources of each split: as the files have them, or drawn from the training file; and how many files share."""
    names = list(given["train"])
    held = (0.0 if "validation" in given else validation, 0.0 if "test" in given else test)
    parts = random_split(len(names), *held)
    splits: dict[Split, Grouped] = dict(given)
    for split, rows in parts.items():
        if split == "train" or split not in given:
            splits[split] = {names[row]: given["train"][names[row]] for row in rows}
    others = set().union(*(given[split] for split in given if split != "train"))
    return splits, len(others & set(names))


def _kept(
    splits: Mapping[Split, Grouped], limit: int | None, symbols: tuple[both.Vocabulary, both.Vocabulary],
    where: Path,
) -> tuple[both.Pairs, dict[str, str]]:  # fmt: skip
    """The pairs that are not too long, numbered, and notes on them."""
    sources: list[str] = []
    targets: list[list[str]] = []
    places: dict[Split, np.ndarray] = {}
    dropped = 0
    for split, part in splits.items():
        first = len(sources)
        for source, texts in part.items():
            fits = list(texts)
            if limit is not None:
                short = len(symbols[0].encode(source, where)) <= limit
                fits = [text for text in texts if short and len(symbols[1].encode(text, where)) <= limit]
                dropped += len(texts) - len(fits)
            if fits:
                sources.append(source)
                targets.append(fits)
        places[split] = np.arange(first, len(sources))
        if split == "train" and len(sources) == first:
            problem = f"{limit} leaves no pair to train on"
            raise ConfigError("data.max_length", problem, hint="raise it, or leave it out")
    number = sum(map(len, targets))
    unknown = " and an unknown one" if symbols[0].unknown is not None else ""
    notes = {"pairs": f"{number:,} of {len(sources):,} distinct sources"}
    notes["symbols"] = (
        f"{len(symbols[0]) - bool(unknown):,} of the source{unknown}, {len(symbols[1]) - 2:,} of the target"
    )
    if dropped:
        notes["left out"] = f"{dropped:,} pairs with more than {limit} tokens on a side (data.max_length)"
    return both.Pairs(sources, targets, places), notes
