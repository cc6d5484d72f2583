"""Arrays saved by the user: how they are found and what they are taken for."""

from pathlib import Path

import numpy as np
import pytest

from bigtrain.config.errors import DataError
from bigtrain.data import npz as npz_module
from bigtrain.data.npz import npz

RANDOM = np.random.default_rng(0)


def saved(folder, **arrays):
    """The path of an archive with these arrays."""
    np.savez(folder / "mine.npz", **arrays)
    return str(folder / "mine.npz")


def whole(data, key="inputs"):
    """All examples of a key, over the splits."""
    return np.concatenate([source[np.arange(len(source))][key] for source in data.splits.values()])


def test_floats_and_integer_labels_are_features_and_classes(tmp_path):
    x, y = RANDOM.normal(size=(100, 5)), np.arange(100) % 3
    data = npz(path=saved(tmp_path, x=x, y=y))
    assert dict(data.spec.sizes) == {"train": 80, "validation": 10, "test": 10}
    assert (data.spec.inputs.dtype, data.spec.inputs.kind, data.spec.inputs.shape) == ("float32", "features", (5,))
    assert (data.spec.inputs.low, data.spec.inputs.high) == (np.float32(x.min()), np.float32(x.max()))
    assert data.spec.targets.kind == "label"
    assert data.spec.classes == ("0", "1", "2")
    assert data.spec.name == "mine"
    np.testing.assert_array_equal(np.sort(whole(data)[:, 0]), np.sort(x[:, 0].astype(np.float32)))
    batch = data.splits["train"][np.arange(3)]
    assert batch["inputs"].dtype == np.float32
    assert batch["targets"].dtype == np.int32


def test_bytes_are_images(tmp_path):
    data = npz(path=saved(tmp_path, images=RANDOM.integers(0, 256, (30, 4, 4, 3), np.uint8), labels=np.arange(30) % 2))
    assert data.spec.inputs.shape == (4, 4, 3)
    assert (data.spec.inputs.dtype, data.spec.inputs.scale, data.spec.inputs.high) == ("uint8", 1 / 255, 1.0)


@pytest.mark.parametrize("form", ["{}_{}", "{1}_{0}"])
@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev"])
def test_splits_that_the_names_tell_are_used_as_they_are(tmp_path, form, word):
    arrays = {}
    for split, at, number in (("train", 0, 20), (word, 100, 3), ("test", 200, 4)):
        arrays[form.format("X", split)] = np.arange(at, at + number, dtype=np.float32)[:, None]
        arrays[form.format("y", split)] = np.arange(number) % 2
    data = npz(path=saved(tmp_path, **arrays))
    assert dict(data.spec.sizes) == {"train": 20, "validation": 3, "test": 4}
    rows = data.splits["validation"][np.arange(3)]
    np.testing.assert_array_equal(rows["inputs"], [[100], [101], [102]])


def test_a_missing_split_is_drawn_from_training(tmp_path):
    data = npz(path=saved(tmp_path, x_train=np.zeros((20, 2)), x_test=np.zeros((5, 2))), validation=3)
    assert dict(data.spec.sizes) == {"train": 17, "validation": 3, "test": 5}
    assert data.spec.targets is None
    data = npz(path=saved(tmp_path, x=np.zeros((20, 2)), x_test=np.zeros((5, 2))), validation=0)
    assert dict(data.spec.sizes) == {"train": 20, "validation": 0, "test": 5}
    assert list(data.splits) == ["train", "test"]


def test_integers_are_tokens_features_or_targets(tmp_path):
    rows = RANDOM.integers(0, 50, (40, 6))
    rows[0, 0] = 49
    path = saved(tmp_path, inputs=rows, targets=rows)
    data = npz(path=path)
    assert (data.spec.inputs.kind, data.spec.inputs.dtype, len(data.spec.vocabulary)) == ("tokens", "int32", 50)
    assert data.spec.targets.kind == "tokens"
    assert len(npz(path=path, vocabulary=64).spec.vocabulary) == 64
    as_features = npz(path=path, kind="features")
    assert (as_features.spec.inputs.kind, as_features.spec.targets.kind) == ("features", "label")
    assert as_features.spec.vocabulary is None
    small = npz(path=saved(tmp_path, inputs=rows.astype(np.uint8), targets=rows[:, 0]), kind="tokens")
    assert (small.spec.inputs.dtype, small.spec.targets.kind, small.spec.classes[-1]) == ("uint8", "label", "49")


def test_targets_of_every_kind(tmp_path):
    x = np.zeros((4, 2), np.float32)
    named = npz(path=saved(tmp_path, x=x, y=np.array(["cat", "dog", "ant", "dog"])), validation=0, test=0)
    assert named.spec.classes == ("ant", "cat", "dog")
    np.testing.assert_array_equal(whole(named, "targets"), [1, 2, 0, 2])
    column = npz(path=saved(tmp_path, x=x, y=np.array([[1], [0], [1], [1]], np.uint8)), validation=0, test=0)
    np.testing.assert_array_equal(whole(column, "targets"), [1, 0, 1, 1])
    real = npz(path=saved(tmp_path, x=x, y=np.ones((4, 3))))
    assert (real.spec.targets.kind, real.spec.targets.shape, real.spec.classes) == ("real", (3,), None)
    assert npz(path=saved(tmp_path, x=x, y=np.arange(4)), target_kind="real").spec.targets.dtype == "float32"
    assert npz(path=saved(tmp_path, x=x, y=np.array([0.0, 1, 2, 1])), target_kind="label").spec.classes[-1] == "2"
    assert len(npz(path=saved(tmp_path, x=x, y=np.arange(4)), classes=7).spec.classes) == 7


def test_lengths_and_segments_are_picked_up(tmp_path):
    arrays = {
        "inputs": np.ones((8, 5), np.int16),
        "lengths": np.full(8, 5),
        "segments": np.zeros((8, 5), np.uint8),
        "y": np.arange(8) % 2,
    }
    data = npz(path=saved(tmp_path, **arrays))
    kinds = {name: (entry.kind, entry.dtype, entry.shape) for name, entry in data.spec.fields.items()}
    assert kinds == {
        "inputs": ("tokens", "int32", (5,)),
        "targets": ("label", "int32", ()),
        "lengths": ("length", "int32", ()),
        "segments": ("segments", "int32", (5,)),
    }
    batch = data.splits["train"][np.arange(2)]
    assert {name: array.shape for name, array in batch.items()} == {
        "inputs": (2, 5),
        "targets": (2,),
        "lengths": (2,),
        "segments": (2, 5),
    }


def test_one_number_an_example_is_a_row_of_one(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10.0))
    data = npz(path=str(tmp_path / "x.npy"))
    assert data.spec.inputs.shape == (1,)
    assert data.spec.targets is None


def test_explicit_names_win(tmp_path):
    path = saved(tmp_path, pixels=np.zeros((9, 2)), x=np.ones((9, 2)), Age=np.ones(9), y=np.arange(9))
    data = npz(path=path, inputs="pixels", targets="Age")
    assert data.spec.inputs.high == 0.0
    assert data.spec.targets.kind == "real"


def test_a_large_folder_is_mapped_and_holds_the_same(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", RANDOM.normal(size=(200, 3)))
    np.save(tmp_path / "y.npy", np.arange(200) % 4)
    read = npz(path=str(tmp_path))
    monkeypatch.setattr(npz_module, "LARGE", 100)
    monkeypatch.setattr(npz_module, "SMALL", 2000)
    mapped = npz(path=str(tmp_path))
    assert mapped.spec.inputs.dtype == "float32"
    assert mapped.spec.inputs.low is None
    for split, source in read.splits.items():
        rows = np.arange(len(source))[::-1]
        for name, values in source[rows].items():
            np.testing.assert_array_equal(mapped.splits[split][rows][name], values)


def test_a_mapped_file_is_checked_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_module, "LARGE", 100)
    monkeypatch.setattr(npz_module, "SMALL", 0)
    x = np.zeros((50, 4))
    x[33, 2] = 1e300
    np.save(tmp_path / "x.npy", x)
    source = npz(path=str(tmp_path), validation=0, test=0).splits["train"]
    source[np.arange(30)]
    with pytest.raises(DataError) as caught:
        source[np.arange(25, 40)]
    assert str(caught.value) == (
        f"{tmp_path}: 'x' is not finite in float32 at index 33\n"
        "  remove such examples or replace their NaN and infinite values"
    )
    np.save(tmp_path / "x.npy", np.full((50, 4), 9))
    assert len(npz(path=str(tmp_path)).spec.vocabulary) == 10
    source = npz(path=str(tmp_path), vocabulary=9).splits["train"]
    with pytest.raises(DataError, match=r"'x' holds a token outside \[0, 9\) at index 0"):
        source[np.array([0])]


def test_arrays_that_are_not_read_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=np.zeros((20, 3), np.float32), y=np.arange(20) % 2, lens=np.ones(20, int))
    assert npz(path=str(tmp_path / "set.npz")).spec.notes["not read"] == "lens"
