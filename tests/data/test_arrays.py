"""The array source: gathering, subsets, and little resident memory over a file that is larger than memory."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bigtrain.data import arrays
from bigtrain.data.arrays import Arrays, Mapped, dataset
from bigtrain.data.spec import Field, Source

# Peak memory is VmHWM: ru_maxrss of a fresh process starts from the peak of the process that started it.
BIG = """
import json, os, sys
import numpy as np
from bigtrain.data.npz import npz
from bigtrain.data.sampler import Order

folder, gathered = sys.argv[1], 0
train = npz(path=folder).splits["train"]
order = Order(len(train), 512, seed=0)
for step in range(520):
    batch = train[order.batches(step, 1)[0]]
    assert batch["inputs"].shape == (512, 32, 32, 3) and batch["targets"].shape == (512,)
    gathered += batch["inputs"].nbytes
peak = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"gathered": gathered, "peak": peak, "jax": "jax" in sys.modules}))
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_20_gb_on_disk_train_in_less_than_2_gb_of_memory(tmp_path):
    number = 1_640_000
    shape = (number, 32, 32, 3)
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=shape)  # sparse: no disk is used
    np.save(tmp_path / "y.npy", np.arange(number) % 10)
    assert (tmp_path / "x.npy").stat().st_size > 20e9
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BIG, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["gathered"] > 3e9
    assert found["peak"] < 2e9
    assert not found["jax"]


def test_arrays_gather_rows_and_subsets_of_subsets():
    source = Arrays({"inputs": np.arange(40.0).reshape(10, 4), "targets": np.arange(10)})
    assert isinstance(source, Source)
    assert len(source) == 10
    half = source.subset(np.arange(1, 10, 2)).subset(np.array([4, 0]))
    assert len(half) == 2
    batch = half[np.array([1, 0, 1])]
    np.testing.assert_array_equal(batch["targets"], [1, 9, 1])
    np.testing.assert_array_equal(batch["inputs"][:, 0], [4, 36, 4])


def test_a_mapped_column_converts_and_gathers_like_an_array(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(500, 7)).astype(">f8")
    np.save(tmp_path / "x.npy", values)
    monkeypatch.setattr(arrays, "RESIDENT", 16 * arrays.FAULT_AROUND)  # pages are handed back many times over
    column = Mapped(np.load(tmp_path / "x.npy", mmap_mode="r"), "float32")
    rows = np.random.default_rng(1).integers(0, 500, 200)
    for _ in range(3):
        found = column[rows]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values[rows].astype(np.float32))
    assert column.shape == (500, 7)
    assert len(column) == 500


def test_the_map_is_found_under_views(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(24, dtype=np.uint8))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert Mapped(np.lib.stride_tricks.sliding_window_view(mapped, 5)[::2])._map is not None
    assert Mapped(np.arange(4))._map is None


def test_rows_are_checked_as_they_are_read():
    def check(rows, indices):
        if (rows > 3).any():
            raise ValueError(f"bad at {indices[rows > 3]}")

    column = Mapped(np.arange(6), check=check)
    np.testing.assert_array_equal(column[np.array([1, 3])], [1, 3])
    with pytest.raises(ValueError, match=r"bad at \[5\]"):
        column[np.array([2, 5])]


def test_an_empty_split_is_left_out():
    whole = Arrays({"inputs": np.zeros((4, 2), np.float32)})
    splits = {"train": whole, "validation": whole.subset(np.arange(0))}
    data = dataset("x", {"inputs": Field((2,), "float32", "features")}, splits)
    assert list(data.splits) == ["train"]
    assert dict(data.spec.sizes) == {"train": 4, "validation": 0, "test": 0}
