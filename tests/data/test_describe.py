"""The facts of a data set are the true ones, and so are the copies found between its splits."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest

from bigtrain.data import describe as described
from bigtrain.data import leakage as leaks
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.describe import describe
from bigtrain.data.leakage import leakage
from bigtrain.data.spec import Dataset, Field, Vocabulary

LABEL = Field((), "int32", "label")
RANDOM = np.random.default_rng(0)


def images(train: np.ndarray, test: np.ndarray, labels: tuple[Any, Any] = (0, 0), dtype: str = "uint8") -> Dataset:
    """A set of two splits [N, 8, 8] with a label each."""
    splits = {
        split: Arrays({"inputs": values, "targets": np.broadcast_to(label, len(values)).astype(np.int32)})
        for split, values, label in (("train", train, labels[0]), ("test", test, labels[1]))
    }
    field = Field(train.shape[1:], dtype, "features", scale=1 / 255 if dtype == "uint8" else 1.0)
    return dataset("made", {"inputs": field, "targets": LABEL}, splits, classes=("a", "b"))  # type: ignore[arg-type]


def noise(number: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (number, 8, 8)).astype(np.uint8)


def test_planted_copies_and_conflicts_are_counted_exactly() -> None:
    train, test = noise(50), noise(20)
    test[[3, 7, 9]] = train[[10, 20, 30]]
    train[40] = train[41]
    labels = np.zeros(50, int), np.zeros(20, int)
    labels[1][7] = 1
    found = leakage(images(train, test, labels))["exact"]
    assert found["test"] == {"number": 3, "conflicting": 1, "pairs": [[3, 10], [7, 20], [9, 30]]}
    assert found["train"] == {"copies": 1, "conflicting": 0}
    assert found["sampled"] == []


def test_near_copies_are_found_by_their_distance_and_exact_ones_not_counted_again() -> None:
    train, test = noise(60), noise(30)
    usual = np.sqrt(2 * 64 * 255**2 / 12)  # of two images of independent pixels
    test[5] = train[17]
    for row, share in ((8, 0.05), (9, 0.3)):
        shift = RANDOM.choice([-1, 1], (8, 8)) * share * usual / 8
        test[row] = np.clip(train[18 + row] + shift, 0, 255).astype(np.uint8)
    found = leakage(images(train, test))["near"]
    assert found["test"]["number"] == 1
    [(row, twin, apart)] = found["test"]["pairs"]
    assert (row, twin) == (8, 26)
    assert 0.02 < apart < 0.06
    assert "10% of the usual distance" in found["method"]


def texts(rows: list[str], length: int = 40) -> np.ndarray:
    return np.array([[ord(letter) - 97 for letter in row.ljust(length, "z")[:length]] for row in rows], np.uint8)


def test_near_copies_of_texts_share_most_of_their_pieces() -> None:
    letters = RANDOM.integers(0, 25, (30, 40)).astype(np.uint8)
    test = RANDOM.integers(0, 25, (10, 40)).astype(np.uint8)
    test[2] = letters[5]
    test[2, 39] = (test[2, 39] + 1) % 25  # 32 of 34 distinct pieces in common
    test[4] = letters[6]
    test[4, 20] = (test[4, 20] + 1) % 25  # in the middle: 8 of 33 pieces differ
    vocabulary = Vocabulary(tuple(map(chr, range(97, 123))))
    splits = {"train": Arrays({"inputs": letters}), "test": Arrays({"inputs": test})}
    found = leakage(dataset("t", {"inputs": Field((40,), "uint8", "tokens")}, splits, vocabulary=vocabulary))  # type: ignore[arg-type]
    assert [pair[:2] for pair in found["near"]["test"]["pairs"]] == [(2, 5)]
    assert found["near"]["test"]["pairs"][0][2] == pytest.approx(32 / 34, abs=1e-3)
    assert found["exact"]["test"]["number"] == 0


def test_what_lies_beyond_a_length_does_not_make_a_difference() -> None:
    values = RANDOM.normal(size=(12, 6, 3)).astype(np.float32)
    other = values.copy()
    other[:, 4:] = 9.0
    lengths = np.full(12, 4, np.int32)
    splits = {
        "train": Arrays({"inputs": values, "lengths": lengths}),
        "test": Arrays({"inputs": other, "lengths": lengths}),
    }
    fields = {"inputs": Field((6, 3), "float32", "features"), "lengths": Field((), "int32", "length")}
    made = dataset("s", fields, splits)  # type: ignore[arg-type]
    assert leakage(made)["exact"]["test"]["number"] == 12
    facts = describe(made)["measured"]["test"]
    assert facts["inputs"]["high"] == pytest.approx(values[:, :4].max())
    assert facts["inputs"]["missing"] == 0
    assert facts["lengths"] == {"least": 4, "median": 4.0, "most": 4}


def test_large_sets_are_sampled_and_that_is_said() -> None:
    with mock.patch.object(leaks, "HASHED", 10), mock.patch.object(leaks, "COMPARED", {"train": 8, "test": 5}):
        found = leakage(images(noise(40), noise(40)))
    assert found["exact"]["checked"] == {"train": 10, "test": 10}
    assert found["exact"]["sampled"] == ["train", "test"]
    assert found["near"]["compared"] == {"train": 8, "test": 5}


def test_few_values_an_example_are_not_searched_for_near_copies() -> None:
    assert leakage(images(noise(9)[:, :2, :2], noise(9)[:, :2, :2]))["near"] is None


def test_values_are_measured_in_pieces_as_they_are_as_a_whole() -> None:
    values = RANDOM.normal(3, 2, (500, 5)).astype(np.float32)
    values[:, 2] = 7.0
    values[9, 4] = np.nan
    made = images(values[:400], values[400:], dtype="float32")
    with mock.patch.object(described, "CHUNK_BYTES", 640):
        facts = describe(made)
    found = facts["measured"]["train"]["inputs"]
    known = values[:400].astype(float)
    assert found["mean"] == pytest.approx(np.nanmean(known))
    assert found["deviation"] == pytest.approx(np.nanstd(known))
    assert (found["low"], found["high"]) == (np.nanmin(known), np.nanmax(known))
    assert found["missing"] == 1
    assert found["constant"] == {"number": 1, "of": 5, "first": [2]}
    assert "inputs has 1 missing values (NaN) in training" in facts["warnings"]
    assert "1 of the 5 values of inputs never change (at 2)" in facts["warnings"]


def test_classes_are_counted_and_imbalance_is_noted() -> None:
    facts = describe(images(noise(40), noise(10), (np.arange(40) % 8 == 0, np.arange(10) % 2)))
    assert facts["classes"] == {"names": ["a", "b"], "counts": {"train": [35, 5], "test": [5, 5]}}
    assert any(
        text.startswith("unbalanced: class a has 7.0 times the training examples of b") for text in facts["warnings"]
    )
    assert "there is no validation split" in facts["warnings"]
