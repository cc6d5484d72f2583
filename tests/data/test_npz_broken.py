"""What is said of arrays that can't be used: one message, naming the file, the array and what to do."""

import zipfile

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError, DataError, InputError
from bigtrain.data.npz import npz


def saved(folder, **arrays):
    """The path of an archive with these arrays."""
    np.savez(folder / "mine.npz", **arrays)
    return str(folder / "mine.npz")


X = np.zeros((6, 2), np.float32)
NAN = np.array([[0, 1], [2, np.nan], [3, 4], [np.inf, 5]])
FIX = "\n  remove these examples or replace their NaN and infinite values"
LABELS = "\n  for regression set data.target_kind=real; for more classes than the labels show, data.classes=NUMBER"
ARGMAX = "save y.argmax(1), or set data.target_kind=real to regress on it"
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
        "{}: labels 'y' have shape (6, 6), one class index an example, or one at each of its 2 steps, is needed"
        + LABELS,
    ),
    "one-hot floats": ({"x": X, "y": np.eye(6)[:, ::-1]}, {}, "{}: 'y' is one-hot: " + ARGMAX),
    "one-hot integers": ({"x": X, "y": np.eye(3, dtype=np.uint8)[[0, 1, 2] * 2]}, {}, "{}: 'y' is one-hot: " + ARGMAX),
    "one-hot steps": (
        {"x": X, "y": np.eye(2, dtype=int)[[0, 1, 1] * 2]},
        {},
        "{}: 'y' is one-hot: " + ARGMAX + "; for a class at each step data.target_kind=label",
    ),
    "negative label of a step": (
        {"x": X, "y": np.array([[0, 1]] * 5 + [[0, -1]])},
        {},
        "{}: label -1 of 'y' at index 5, step 1 is negative; classes count from 0" + LABELS,
    ),
    "labels of steps in one split": (
        {"x_train": X, "y_train": np.ones((6, 2), int), "x_test": X, "y_test": np.ones(6, int)},
        {},
        "{}: labels 'y_train' have shape [2], 'y_test' has []",
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


CSV = (
    "is neither an .npz archive nor an .npy file\n"
    "  convert it: table = numpy.loadtxt('text.csv', delimiter=','), then "
    "numpy.savez('text.npz', x=table[:, :-1], y=table[:, -1]); for classes y=table[:, -1].astype(int)"
)


def test_files_that_are_no_arrays_are_named(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    for name in ("text.csv", "text.tsv"):
        (tmp_path / name).write_text("1,2")
    (tmp_path / "text.npy").write_text("hello, this is no array")
    np.save(tmp_path / "cut.npy", np.zeros(1000))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:500])
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name, problem in (
        ("nothing.npz", "no such file or folder\n  data.path names an .npz"),
        ("text.npz", "is neither an .npz archive nor an .npy file\n  save the arrays with numpy.savez(path, x=…, y=…)"),
        ("text.csv", CSV),
        ("text.tsv", CSV.replace("csv", "tsv").replace("','", r"'\t'")),
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
    path = saved(tmp_path, x=np.random.default_rng(0).normal(size=(100, 5)))
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


def test_no_damage_ends_in_a_traceback(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(80).reshape(40, 2), y=np.arange(40) % 3)
    np.save(tmp_path / "a.npy", np.arange(80.0).reshape(40, 2))
    random = np.random.default_rng(0)
    refused = 0
    for turn in range(300):
        source = tmp_path / ("a.npz" if turn % 3 else "a.npy")
        body = np.fromfile(source, np.uint8)
        places = random.integers(0, len(body), 3) // random.integers(1, 8)
        body[places] = random.integers(0, 256, 3)
        path = tmp_path / f"damaged{source.suffix}"
        path.write_bytes(body[: random.integers(1, len(body))].tobytes() if turn % 5 == 0 else body.tobytes())
        try:
            npz(path=str(path))
        except InputError:
            refused += 1
    assert refused > 100
