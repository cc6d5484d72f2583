"""Splits never overlap, cover everything, and are the same whatever the seed of the run."""

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.data.digits import digits
from bigtrain.data.splits import CHUNK, contiguous_split, random_split, share, split_sizes, stratified_split


@pytest.mark.parametrize(
    ("total", "validation", "test"), [(3, 0.1, 0.1), (100, 0.1, 0.2), (1797, 100, 0), (60_000, 1 / 12, 0), (5, 0, 0)]
)
def test_splits_cover_everything_once(total, validation, test):
    for cut in (random_split, contiguous_split):
        parts = cut(total, validation, test)
        sizes = split_sizes(total, validation, test)
        assert {split: len(part) for split, part in parts.items()} == sizes
        together = np.sort(np.concatenate([np.asarray(part, np.int64) for part in parts.values()]))
        np.testing.assert_array_equal(together, np.arange(total))


def test_a_random_split_is_fixed_and_looks_random():
    first, second = random_split(1000, 0.1, 0.2), random_split(1000, 0.1, 0.2)
    for split, part in first.items():
        np.testing.assert_array_equal(part, second[split])
    assert abs(first["test"].mean() - 500) < 80
    assert (np.diff(first["test"]) != 1).any()


def test_a_random_split_larger_than_a_chunk_covers_everything():
    parts = random_split(CHUNK + 5, 0.5)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(CHUNK + 5))


def test_contiguous_splits_keep_their_order():
    assert contiguous_split(100, 0.1, 0.2) == {
        "train": range(70),
        "validation": range(70, 80),
        "test": range(80, 100),
    }


def test_a_stratified_split_cuts_every_class_alike():
    labels = np.repeat([0, 1, 2], [100, 200, 50])
    parts = stratified_split(labels, 0.1, 0.2)
    np.testing.assert_array_equal(np.bincount(labels[parts["test"]]), [20, 40, 10])
    np.testing.assert_array_equal(np.bincount(labels[parts["validation"]]), [10, 20, 5])
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(350))


def test_digits_are_split_by_class_and_without_overlap():
    data = digits()
    assert dict(data.spec.sizes) == {"train": 1259, "validation": 179, "test": 359}
    rows = np.concatenate([source.indices for source in data.splits.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(1797))


def test_a_share_is_a_fraction_below_one_and_a_number_from_one_on():
    assert share(0.5, 9, "x") == 4
    assert share(1, 9, "x") == 1
    assert share(9.0, 9, "x") == 9
    assert share(0.01, 9, "x") == 1
    assert share(0, 9, "x") == 0


@pytest.mark.parametrize(
    ("total", "validation", "test", "message"),
    [
        (
            10,
            1.5,
            0,
            "data.validation: 1.5 is not a whole number\n  allowed: a fraction below 1, or a number of examples",
        ),
        (10, 0, -1, "data.test: -1 is negative\n  allowed: a fraction below 1, or a number of examples"),
        (10, 11, 0, "data.validation: 11 examples asked of a set of 10\n  try data.validation=0.1"),
        (
            10,
            0.6,
            0.4,
            "data.validation: 6 for validation and 4 for testing leave none of 10 examples to train on\n"
            "  lower it, or hold nothing out: data.validation=0",
        ),
        (
            1,
            0,
            0.1,
            "data.test: 0 for validation and 1 for testing leave none of 1 examples to train on\n"
            "  lower it, or hold nothing out: data.test=0",
        ),
    ],
)
def test_an_impossible_share_is_named(total, validation, test, message):
    with pytest.raises(ConfigError) as caught:
        split_sizes(total, validation, test)
    assert str(caught.value) == message
