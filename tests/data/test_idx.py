"""IDX files: what is read from them, and what is said of broken ones."""

import gzip
import struct

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data import idx as idx_module
from bigtrain.data.idx import DTYPES, idx, read_array
from bigtrain.data.mnist import fashion_mnist, mnist

CODES = {np.dtype(stored): code for code, stored in DTYPES.items()}


def packed(array, dtype="u1"):
    """The bytes of an IDX file."""
    array = np.asarray(array).astype(dtype)
    head = struct.pack(f">2xBB{array.ndim}I", CODES[array.dtype], array.ndim, *array.shape)
    return head + array.tobytes()


def write_set(folder, number=24, tests=12, pattern="{}-{}-idx{}-ubyte", zipped=False, dtype="u1"):
    """Four files as MNIST names them; image i holds i in every pixel."""
    folder.mkdir(exist_ok=True)
    for part, count in (("train", number), ("t10k", tests)):
        images = np.repeat(np.arange(count), 6).reshape(count, 2, 3)
        for kind, array, dims in (("images", images, 3), ("labels", np.arange(count) % 4, 1)):
            body = packed(array, dtype if kind == "images" else "u1")
            name = pattern.format(part, kind, dims) + (".gz" if zipped else "")
            (folder / name).write_bytes(gzip.compress(body) if zipped else body)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "pattern",
    ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte", "emnist-letters-{}-{}-idx{}-ubyte", "kmnist-{}-{}-idx{}-ubyte"],
)
def test_a_folder_is_read_under_every_usual_name(tmp_path, pattern, zipped):
    data = idx(dir=str(write_set(tmp_path, pattern=pattern, zipped=zipped)))
    assert dict(data.spec.sizes) == {"train": 22, "validation": 2, "test": 12}
    assert data.spec.classes == ("0", "1", "2", "3")
    assert data.spec.inputs.shape == (2, 3)
    assert (data.spec.inputs.dtype, data.spec.inputs.scale) == ("uint8", 1 / 255)
    batch = data.splits["test"][np.array([5, 2])]
    np.testing.assert_array_equal(batch["inputs"][:, 0, 0], [5, 2])
    np.testing.assert_array_equal(batch["targets"], [1, 2])
    assert batch["targets"].dtype == np.int32
    seen = [source[np.arange(len(source))]["inputs"][:, 0, 0] for key, source in data.splits.items() if key != "test"]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(24))


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_every_type_is_read_in_native_byte_order(tmp_path, dtype):
    path = tmp_path / "a-idx2"
    values = np.array([[0, 1, 2], [100, 101, 127]])
    path.write_bytes(packed(values, dtype))
    found = read_array(path)
    assert found.dtype.isnative
    assert found.dtype.itemsize == np.dtype(dtype).itemsize
    np.testing.assert_array_equal(found, values)


def test_images_that_are_not_bytes_become_float32(tmp_path):
    data = idx(dir=str(write_set(tmp_path, dtype=">f8")))
    assert (data.spec.inputs.dtype, data.spec.inputs.scale, data.spec.inputs.high) == ("float32", 1.0, 23.0)


def test_a_large_raw_file_is_mapped(tmp_path, monkeypatch):
    plain = idx(dir=str(write_set(tmp_path)), transpose=True)
    monkeypatch.setattr(idx_module, "LARGE", 100)
    mapped = idx(dir=str(tmp_path), transpose=True)
    assert mapped.spec.inputs.shape == (3, 2)
    for split, source in mapped.splits.items():
        rows = np.arange(len(source))
        np.testing.assert_array_equal(source[rows]["inputs"], plain.splits[split][rows]["inputs"])


def test_two_sets_in_a_folder_need_a_prefix(tmp_path):
    write_set(tmp_path, pattern="emnist-letters-{}-{}-idx{}-ubyte")
    write_set(tmp_path, pattern="emnist-digits-{}-{}-idx{}-ubyte", number=12)
    with pytest.raises(ConfigError) as caught:
        idx(dir=str(tmp_path))
    assert str(caught.value) == f"data.prefix: {tmp_path} holds 2 sets\n  allowed: emnist-digits, emnist-letters"
    assert idx(dir=str(tmp_path), prefix="emnist-digits").spec.sizes["train"] == 11


def test_without_a_folder_the_key_is_named():
    with pytest.raises(ConfigError) as caught:
        idx()
    assert str(caught.value) == (
        "data.dir: no folder is given\n  allowed: a folder with IDX files\n"
        "  for example: bigtrain fit data=idx data.dir=~/mnist"
    )


def broken(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
BROKEN = {
    "truncated": (
        lambda at: broken(at, IMAGES, lambda body: body[:-4]),
        f"{{}}/{IMAGES}: is truncated: expected 160 bytes, got 156\n"
        "  the download or copy was cut short: fetch it again",
    ),
    "no header": (
        lambda at: broken(at, LABELS, lambda body: body[:3]),
        f"{{}}/{LABELS}: is truncated: expected 4 bytes, got 3\n  the download or copy was cut short: fetch it again",
    ),
    "half a header": (
        lambda at: broken(at, IMAGES, lambda body: body[:9]),
        f"{{}}/{IMAGES}: is truncated: expected 16 bytes, got 9\n  the download or copy was cut short: fetch it again",
    ),
    "bad magic": (
        lambda at: broken(at, LABELS, lambda body: b"\x89PNG" + body),
        f"{{}}/{LABELS}: is not an IDX file: it starts with 89 50 4e 47\n"
        "  it starts with two zero bytes, a type (8, 9, 11, 12, 13 or 14) and the number of dims",
    ),
    "gzip without .gz": (
        lambda at: broken(at, LABELS, lambda body: gzip.compress(body, mtime=0)),
        f"{{}}/{LABELS}: is not an IDX file: it starts with 1f 8b 08 00\n"
        "  it is gzip: give it a name that ends with .gz",
    ),
    "trailing bytes": (
        lambda at: broken(at, LABELS, lambda body: body + b"xx"),
        f"{{}}/{LABELS}: has bytes after its last value: expected 32 bytes, got 34",
    ),
    "counts differ": (
        lambda at: broken(at, LABELS, lambda _: packed(np.zeros(23))),
        f"{{}}: the arrays have different numbers of examples: '{IMAGES}' 24, '{LABELS}' 23",
    ),
    "empty": (
        lambda at: (
            broken(at, LABELS, lambda _: packed(np.zeros(0))),
            broken(at, IMAGES, lambda _: packed(np.zeros((0, 2, 3)))),
        ),
        "{}: the set is empty\n  at least one example is needed",
    ),
    "negative label": (
        lambda at: broken(at, LABELS, lambda _: packed(np.arange(24) - 3, "i1")),
        f"{{}}/{LABELS}: label -3 of '{LABELS}' at index 0 is negative; classes count from 0",
    ),
    "labels with dims": (
        lambda at: broken(at, LABELS, lambda _: packed(np.zeros((24, 2)))),
        f"{{}}/{LABELS}: labels '{LABELS}' have shape (24, 2), one class index an example is needed",
    ),
    "not finite": (
        lambda at: (
            write_set(at, dtype=">f4"),
            broken(at, IMAGES, lambda body: body[:-48] + struct.pack(">12f", *[np.nan] * 12)),
        ),
        f"{{}}/{IMAGES}: '{IMAGES}' holds 2 examples that are not finite in float32; the first has index 22\n"
        "  remove these examples or replace their NaN and infinite values",
    ),
    "shapes differ": (
        lambda at: broken(at, IMAGES, lambda _: packed(np.zeros((24, 3, 3)))),
        f"{{}}/t10k-images-idx3-ubyte: examples of '{IMAGES}' are uint8[3, 3], of 't10k-images-idx3-ubyte' uint8[2, 3]"
        "\n  all splits need the same type and shape",
    ),
    "missing": (
        lambda at: ((at / IMAGES).unlink(), (at / "t10k-labels-idx1-ubyte").unlink()),
        "{}: lacks train-images-idx3-ubyte, t10k-labels-idx1-ubyte (with or without .gz)\n"
        "  it holds: t10k-images-idx3-ubyte, train-labels-idx1-ubyte",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_set_is_answered_with_one_message(tmp_path, case):
    write_set(tmp_path)
    change, message = BROKEN[case]
    change(tmp_path)
    with pytest.raises(DataError) as caught:
        idx(dir=str(tmp_path))
    assert str(caught.value) == message.replace("{}", str(tmp_path))
    assert caught.value.exit_code == 2


def test_broken_gzip_files_are_named(tmp_path):
    write_set(tmp_path, zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    whole = path.read_bytes()
    for body, problem in (
        (whole[:-12], "Compressed file ended before the end-of-stream marker was reached"),
        (b"no gzip at all", "Not a gzipped file (b'no')"),
        (whole[:-8] + b"\0" * 8, "CRC check failed"),
    ):
        path.write_bytes(body)
        with pytest.raises(DataError) as caught:
            idx(dir=str(tmp_path))
        assert str(caught.value).startswith(f"{path}: is not a whole gzip file: {problem}")
        assert str(caught.value).endswith("\n  the file was cut short or damaged: fetch it again")


def test_a_header_that_promises_too_much_is_not_believed(tmp_path):
    write_set(tmp_path, zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(gzip.compress(struct.pack(">2xBB3I", 8, 3, 2**31, 2**31, 2**31)))
    with pytest.raises(DataError, match=f"is truncated: expected {2**93 + 16} bytes\n"):
        idx(dir=str(tmp_path))


def test_folders_that_are_none_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        idx(dir=str(tmp_path / "nowhere"))
    assert str(caught.value) == (
        f"{tmp_path}/nowhere: no such folder\n  data.dir names the folder that holds the IDX files"
    )
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file, not a folder"):
        idx(dir=str(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it holds: no files"):
        idx(dir=str(tmp_path / "empty"))


def test_mnist_reads_a_folder_and_the_cache(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "mnist", zipped=True)
    given = mnist(dir=str(folder), validation=4)
    assert dict(given.spec.sizes) == {"train": 20, "validation": 4, "test": 12}
    assert len(given.spec.classes) == 10
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path))
    cached = mnist(validation=4)
    rows = np.arange(4)
    np.testing.assert_array_equal(cached.splits["train"][rows]["inputs"], given.splits["train"][rows]["inputs"])


def test_fashion_mnist_names_its_classes(tmp_path):
    data = fashion_mnist(dir=str(write_set(tmp_path)), validation=0.5)
    assert data.spec.classes[0] == "T-shirt/top"
    assert len(data.spec.classes) == 10


def test_offline_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path))
    monkeypatch.setattr("bigtrain.data.download.time.sleep", lambda _: None)
    with pytest.raises(DataError) as caught:
        mnist(url="http://127.0.0.1:9/mnist")
    assert str(caught.value) == (
        "http://127.0.0.1:9/mnist/train-images-idx3-ubyte.gz: can't be fetched: [Errno 111] Connection refused\n"
        f"  put the file at {tmp_path}/mnist/train-images-idx3-ubyte.gz by hand, set data.dir=FOLDER if you have it "
        "elsewhere, or data.url to a mirror"
    )
