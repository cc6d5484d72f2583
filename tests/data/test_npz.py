"""Arrays saved by the user: how they are found, what they are taken for, and what is said of broken ones."""

import zipfile

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError, DataError
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
    assert (as_features.spec.inputs.kind, as_features.spec.targets.kind) == ("features", "real")
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


X = np.zeros((6, 2), np.float32)
NAN = np.array([[0, 1], [2, np.nan], [3, 4], [np.inf, 5]])
FIX = "\n  remove these examples or replace their NaN and infinite values"
LABELS = "\n  for regression set data.target_kind=real; for more classes than the labels show, data.classes=NUMBER"
BROKEN = {
    "nan": (
        {"x": NAN},
        {},
        "{}: 'x' holds 2 examples that are not finite in float32; the first has index 1" + FIX,
    ),
    "one infinite target": (
        {"x": NAN[:1], "y": NAN[3:, 0]},
        {},
        "{}: 'y' holds 1 example that is not finite in float32; the first has index 0" + FIX,
    ),
    "beyond float32": (
        {"x": np.array([[1.0], [1e39]])},
        {},
        "{}: 'x' holds 1 example that is not finite in float32; the first has index 1" + FIX,
    ),
    "lengths differ": (
        {"x": X, "y": np.zeros(5)},
        {},
        "{}: the arrays have different numbers of examples: 'x' 6, 'y' 5",
    ),
    "empty": ({"x": X[:0]}, {}, "{}: the set is empty\n  at least one example is needed"),
    "a single value": ({"x": np.array(3.0)}, {}, "{}: 'x' is a single value, not an array of examples"),
    "no values": ({"x": np.zeros((4, 0))}, {}, "{}: 'x' has shape (4, 0): its examples hold no values"),
    "negative label": (
        {"x": X, "y": np.array([0, 1, -1, 1, 0, 0])},
        {},
        "{}: label -1 of 'y' at index 2 is negative; classes count from 0" + LABELS,
    ),
    "label out of range": (
        {"x": X, "y": np.array([0, 1, 2, 3, 2, 3])},
        {"classes": 3},
        "{}: label 3 of 'y' at index 3 is not below the number of classes, 3" + LABELS,
    ),
    "label not whole": (
        {"x": X, "y": np.array([0, 1, 0.5, 0, 0, 0])},
        {"target_kind": "label"},
        "{}: label 0.5 of 'y' at index 2 is not a whole number" + LABELS,
    ),
    "labels that are quantities": (
        {"x": X, "y": np.arange(6) * 1000},
        {},
        "{}: labels 'y' reach 5000 in only 6 examples" + LABELS,
    ),
    "one-hot labels": (
        {"x": X, "y": np.eye(6, dtype=np.int32)},
        {"target_kind": "label"},
        "{}: labels 'y' have shape (6, 6), one class index an example is needed" + LABELS,
    ),
    "negative token": (
        {"x": np.array([[1, 2], [3, -4]])},
        {},
        "{}: 'x' holds a negative token at index 1\n"
        "  tokens count from 0; for integers that are quantities set data.kind=features",
    ),
    "token out of range": (
        {"x": np.array([[1, 2], [3, 4]])},
        {"vocabulary": 4},
        "{}: 'x' holds a token outside [0, 4) at index 1",
    ),
    "no vocabulary": (
        {"x": np.array([[1, 2], [3, 10**8]])},
        {},
        "{}: tokens reach 100000000, too many for a vocabulary\n"
        "  for integers that are quantities set data.kind=features",
    ),
    "float tokens": ({"x": X}, {"kind": "tokens"}, "{}: 'x' has type float32; tokens are integers"),
    "strings": ({"x": np.array(["a", "b"])}, {}, "{}: 'x' has type <U1; numbers are needed"),
    "complex": ({"x": np.ones((2, 2), complex)}, {}, "{}: 'x' has type complex128; numbers are needed"),
    "shapes of splits": (
        {"x_train": X, "x_test": np.zeros((3, 4), np.float32)},
        {},
        "{}: examples of 'x_train' are float32[2], of 'x_test' float32[4]\n  all splits need the same type and shape",
    ),
    "targets of one split": (
        {"x_train": X, "y_train": np.arange(6), "x_test": X},
        {},
        "{}: has targets for y_train, but none for 'x_test'",
    ),
    "length 0": (
        {"x": X, "lengths": np.array([1, 2, 2, 0, 1, 1])},
        {},
        "{}: 'lengths' must hold one length from 1 to 2 an example; index 3 doesn't",
    ),
    "segments": ({"x": X, "segments": np.zeros((6, 3), int)}, {}, "{}: 'segments' has shape (6, 3), not (6, 2)"),
    "objects": (
        {"x": np.array([[1], [1, 2]], dtype=object)},
        {},
        "{}: 'x' holds pickled Python objects, which are never loaded\n"
        "  save plain arrays: numpy.stack(x) if the rows are equally long, else pad them and add lengths",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_archive_is_answered_with_one_message(tmp_path, case):
    arrays, options, message = BROKEN[case]
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError) as caught:
        npz(path=path, **options)
    assert str(caught.value) == message.replace("{}", path)
    assert caught.value.exit_code == 2


KEYS = {
    "unknown name": (
        {"x": X, "labels": X[:, 0]},
        {"targets": "label"},
        "data.targets: 'label' is not in {}\n  allowed: labels, x\n  did you mean 'labels'?",
    ),
    "several": (
        {"x": X, "images": X},
        {},
        "data.inputs: several arrays of {} may be the inputs\n  allowed: x, images",
    ),
    "none": (
        {"a": X, "b": X},
        {},
        "data.inputs: none of the arrays in {} is called inputs or x\n  allowed: a, b",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_name_that_cannot_be_resolved_is_a_config_error(tmp_path, case):
    arrays, options, message = KEYS[case]
    path = saved(tmp_path, **arrays)
    with pytest.raises(ConfigError) as caught:
        npz(path=path, **options)
    assert str(caught.value) == message.replace("{}", path)


def test_without_a_path_the_key_is_named():
    with pytest.raises(ConfigError) as caught:
        npz()
    assert str(caught.value) == (
        "data.path: no file is given\n  allowed: an .npz, an .npy, a folder of .npy\n"
        "  for example: bigtrain fit data=npz data.path=mine.npz"
    )


def test_files_that_are_no_arrays_are_named(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.npy").write_text("hello, this is no array")
    np.save(tmp_path / "cut.npy", np.zeros(1000))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:500])
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name, problem in (
        ("nothing.npz", "no such file or folder\n  data.path names an .npz"),
        ("text.npz", "is neither an .npz archive nor an .npy file\n  save the arrays with numpy.savez"),
        ("text.npy", "'text' can't be read: "),
        ("cut.npy", "'cut' can't be read: "),
        ("empty.npy", "the set is empty\n"),
        ("folder", "holds no .npy files\n  save each array with numpy.save"),
        ("objects.npy", "'objects' holds pickled Python objects, which are never loaded\n"),
    ):
        with pytest.raises(DataError) as caught:
            npz(path=str(tmp_path / name))
        assert str(caught.value).startswith(f"{tmp_path / name}: {problem}")


def test_a_damaged_archive_is_named(tmp_path):
    path = saved(tmp_path, x=RANDOM.normal(size=(100, 5)))
    body = bytearray((tmp_path / "mine.npz").read_bytes())
    body[400] ^= 0xFF
    (tmp_path / "mine.npz").write_bytes(body)
    with pytest.raises(DataError) as caught:
        npz(path=path)
    assert str(caught.value) == (f"{path}: 'x' can't be read: Bad CRC-32 for file 'x.npy'\n  was the file cut short?")


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        np.lib.format.write_array(stream, np.zeros((2000, 1000), np.uint8))
    monkeypatch.setattr("bigtrain.data.checks.available_memory", lambda: 1_000_000)
    with pytest.raises(DataError) as caught:
        npz(path=str(path))
    assert str(caught.value) == (
        f"{path}: needs 2.0 MB of memory, 1.0 MB are available\n"
        "  save each array with numpy.save into a folder: that is mapped, not read"
    )
