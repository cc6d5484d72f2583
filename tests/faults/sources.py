"""Data with a fault at a known place."""

from __future__ import annotations

import numpy as np

from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.spec import Dataset, Field

TRAIN, CLASSES = 80, 3


def broken(*, index: int = -1, value: str = "nan") -> Dataset:
    """Vectors of three classes; an example of the training split has a value that no reader of files lets through.

    Args:
        index: of that example; -1 is none.
        value: what its first number is.
    """
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(TRAIN + 16, 4)).astype(np.float32), np.arange(TRAIN + 16) % CLASSES
    inputs += targets[:, None]
    if index >= 0:
        inputs[index, 0] = float(value)
    columns = {"inputs": inputs, "targets": targets.astype(np.int32)}
    fields = {"inputs": Field((4,), "float32", "features"), "targets": Field((), "int32", "label")}
    splits = {"train": slice(0, TRAIN), "validation": slice(TRAIN, None)}
    sources = {name: Arrays({key: column[part] for key, column in columns.items()}) for name, part in splits.items()}
    return dataset("broken", fields, sources, classes=("a", "b", "c"))
