"""Sources of any kind as splits: parts held out of the training source, and in memory what fits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bigtrain.data.arrays import Arrays
from bigtrain.data.checks import available_memory
from bigtrain.data.decoded import KEPT_BYTES
from bigtrain.data.progress import rate, shown
from bigtrain.data.spec import Field, Source, Split
from bigtrain.data.splits import random_split

BLOCK = 1024  # examples that are read at once


@dataclass(frozen=True)
class Subset:
    """The examples at `rows` of another source."""

    source: Source
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return self.source[self.rows[indices]]


def settled(
    given: Mapping[Split, Source], fields: Mapping[str, Field], validation: float, test: float
) -> tuple[dict[Split, Source], str]:
    """Every split: those given, and those that aren't, drawn from the training examples; and a note on how it is read.

    Sets of up to 512 MB are read once, now; of larger ones each batch is read when it is needed.
    """
    example = sum(field.nbytes for field in fields.values())
    total = sum(len(source) for source in given.values())
    free = available_memory()
    fits = total * example <= KEPT_BYTES and (free is None or total * example < free)
    started = time.perf_counter()
    splits = {split: _read(source, fields) if fits else source for split, source in given.items()}
    parts = random_split(
        len(splits["train"]),
        0.0 if "validation" in splits else validation,
        0.0 if "test" in splits else test,
    )
    train = splits["train"]
    held: dict[Split, Source] = {split: Subset(train, rows) for split, rows in parts.items() if len(rows)}
    if len(held) == 1:
        held = {"train": train}
    if isinstance(train, Arrays):  # what looks at the labels of all examples knows them
        held = {split: train.subset(parts[split]) for split in held}
    note = rate("examples", total, time.perf_counter() - started) if fits else f"{total:,} examples, read as needed"
    return {**held, **{split: source for split, source in splits.items() if split != "train"}}, note


def _read(source: Source, fields: Mapping[str, Field]) -> Arrays:
    """The whole source as arrays."""
    number = len(source)
    columns = {name: np.empty((number, *field.shape), field.dtype) for name, field in fields.items()}
    starts = range(0, number, BLOCK)
    for first in shown(starts, f"reading blocks of {BLOCK:,} examples", len(starts)):
        rows = np.arange(first, min(first + BLOCK, number))
        for name, values in source[rows].items():
            columns[name][rows] = values
    return Arrays(columns)
