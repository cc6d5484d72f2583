"""Arrays read into memory that a CPU device takes as it is."""

import numpy as np
import pytest

from bigtrain.data.memory import ALIGNMENT, aligned, read


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_is_read_as_it_is(tmp_path, order):
    values = np.asarray(np.random.default_rng(0).random((5, 3, 2), np.float32), order=order)
    np.save(tmp_path / "x.npy", values)
    found = read(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, values)
    assert order == "F" or found.ctypes.data % ALIGNMENT == 0


def test_a_file_cut_short_while_it_is_read_is_an_error(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(1000))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(EOFError):
        read(mapped)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_where_memory_starts(shape):
    made = aligned(shape, np.dtype("float64"))
    assert (made.shape, made.dtype, made.ctypes.data % ALIGNMENT) == (shape, np.float64, 0)
