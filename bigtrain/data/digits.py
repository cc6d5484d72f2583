"""Handwritten digits, 1,797 grey images of 8×8: small enough to come with bigtrain."""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np

from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.spec import Dataset, Field
from bigtrain.data.splits import stratified_split

VALIDATION, TEST = 0.1, 0.2  # of each class


def digits() -> Dataset:
    """Handwritten digits, 1,797 grey 8×8 images in 10 classes; comes with bigtrain, needs no network.

    Source: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
    (CC BY 4.0), https://doi.org/10.24432/C50P49. 70% of each class train, 10% validate, 20% test, the same for every
    seed.

    Returns:
        `inputs` uint8 [8, 8], 0 to 16 scaled to 0 to 1, and `targets`, the digit.
    """
    with (files("bigtrain.data") / "files" / "digits.csv.gz").open("rb") as packed, gzip.open(packed, "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)  # [1797, 64 pixels and the label]
    labels = rows[:, 64].astype(np.int32)
    whole = Arrays({"inputs": np.ascontiguousarray(rows[:, :64]).reshape(-1, 8, 8), "targets": labels})
    fields = {
        "inputs": Field((8, 8), "uint8", "features", scale=1 / 16, low=0.0, high=1.0),
        "targets": Field((), "int32", "label"),
    }
    splits = {split: whole.subset(rows) for split, rows in stratified_split(labels, VALIDATION, TEST).items()}
    return dataset("digits", fields, splits, classes=tuple(str(digit) for digit in range(10)))
