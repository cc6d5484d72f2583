"""The order of the data: a permutation, an even one, out of nothing but (seed, step)."""

import tracemalloc

import numpy as np
import pytest

from bigtrain.data.sampler import Order, permuted


@pytest.mark.parametrize("size", [*range(1, 70), 97, 127, 128, 129, 1000, 1021, 4096, 10_007, 65_536, 100_003])
def test_every_size_is_permuted_one_to_one(size):
    found = permuted(np.arange(size), size, 3, 1)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(np.sort(found), np.arange(size))


def test_huge_sizes_stay_in_range_and_distinct():
    for size in (10**9, 2**40 + 7, 2**62):
        found = permuted(np.arange(5000), size, 0)
        assert found.min() >= 0
        assert found.max() < size
        assert len(np.unique(found)) == 5000


def test_a_size_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"size must lie in \[1, 2\^62\], got 0"):
        permuted(np.arange(1), 0)


def test_where_an_item_goes_is_uniform_over_the_keys():
    size, keys = 12, 3000
    counts = np.zeros((size, size))
    for key in range(keys):
        counts[np.arange(size), permuted(np.arange(size), size, key)] += 1
    expected = keys / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


def test_the_step_from_one_item_to_the_next_is_uniform():
    size, keys = 11, 3000
    counts = np.zeros(size)
    for key in range(keys):
        counts += np.bincount(np.diff(permuted(np.arange(size), size, key, 5)) % size, minlength=size)
    expected = keys  # size - 1 steps a key, size - 1 values that they can take
    assert counts[0] == 0
    assert ((counts[1:] - expected) ** 2 / expected).sum() < size - 2 + 5 * np.sqrt(2 * (size - 2))


def test_an_epoch_reads_every_example_once_and_the_next_one_in_another_order():
    order = Order(size=1000, batch_size=64, seed=0)
    stream = order.batches(0, 32).reshape(-1)
    first, second = stream[:1000], stream[1000:2000]
    np.testing.assert_array_equal(np.sort(first), np.arange(1000))
    np.testing.assert_array_equal(np.sort(second), np.arange(1000))
    assert (first == second).mean() < 0.02
    assert order.steps_per_epoch == 15.625


@pytest.mark.parametrize(("size", "batch_size"), [(7, 3), (1000, 64), (5, 32), (100_000, 1000)])
def test_the_order_does_not_depend_on_the_chunks_it_is_read_in(size, batch_size):
    order = Order(size, batch_size, seed=9)
    whole = order.batches(0, 48)
    assert whole.shape == (48, batch_size)
    np.testing.assert_array_equal(whole, np.concatenate([order.batches(step, 1) for step in range(48)]))
    np.testing.assert_array_equal(whole[17:40], order.batches(17, 23))


def test_the_seed_decides():
    same, other = Order(500, 10, 1), Order(500, 10, 2)
    np.testing.assert_array_equal(same.batches(40, 3), Order(500, 10, 1).batches(40, 3))
    assert (same.batches(40, 3) != other.batches(40, 3)).any()


def test_a_billion_examples_cost_little_memory():
    tracemalloc.start()
    try:
        found = Order(10**9, 256, 0).batches(3_000_000, 8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.shape == (8, 256)
    assert len(np.unique(found)) == found.size
    assert peak < 16 << 20
