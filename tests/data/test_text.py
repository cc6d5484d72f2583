"""Text: windows, vocabularies, and what is said of files that can't be read."""

import gzip

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data import text as text_module
from bigtrain.data.text import text


def write(folder, content, name="a.txt", encoding="utf-8"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return str(folder / name)


def decoded(data, tokens):
    return "".join(data.spec.vocabulary.symbols[token] for token in tokens)


def test_the_novel_is_read():
    data = text()
    assert dict(data.spec.sizes) == {"train": 6565, "validation": 364, "test": 364}
    assert len(data.spec.vocabulary) == 75
    assert not data.spec.vocabulary.raw
    assert data.spec.inputs.dtype == "uint8"
    batch = data.splits["train"][np.array([0, 3])]
    assert decoded(data, batch["inputs"][0]).startswith("Persuasion\n\n\nby\n\nJane Austen")
    np.testing.assert_array_equal(batch["inputs"][:, 1:], batch["targets"][:, :-1])


@pytest.mark.parametrize(("stride", "number"), [(None, 19), (1, 190), (3, 64), (20, 10)])
def test_windows_lie_a_stride_apart(tmp_path, stride, number):
    content = "".join(chr(0x100 + place) for place in range(200))
    data = text(path=write(tmp_path, content), length=10, stride=stride, validation=0, test=0)
    rows = data.splits["train"]
    step = stride or 10
    assert len(rows) == number
    batch = rows[np.arange(len(rows))]
    np.testing.assert_array_equal(batch["inputs"][:, 0], np.arange(len(rows)) * step)
    np.testing.assert_array_equal(batch["targets"], batch["inputs"] + 1)


def test_no_window_crosses_into_another_split(tmp_path):
    content = "".join(chr(0x100 + place) for place in range(300))
    data = text(path=write(tmp_path, content), length=7, stride=1, validation=0.2, test=0.1)
    bounds = {"train": (0, 210), "validation": (210, 270), "test": (270, 300)}
    assert data.spec.inputs.dtype == "uint16"
    for split, (first, last) in bounds.items():
        batch = data.splits[split][np.arange(len(data.splits[split]))]
        assert batch["inputs"].min() == first
        assert batch["targets"].max() == last - 1
        assert len(batch["inputs"]) == last - first - 7


def test_bytes_are_their_own_vocabulary(tmp_path):
    content = bytes(range(256)) * 2
    data = text(path=write(tmp_path, content), level="bytes", length=8)
    assert data.spec.vocabulary.raw
    assert len(data.spec.vocabulary) == 256
    np.testing.assert_array_equal(data.splits["train"][np.array([1])]["inputs"], [np.arange(8, 16)])


def test_a_large_file_of_bytes_is_mapped(tmp_path, monkeypatch):
    path = write(tmp_path, bytes(range(256)) * 8)
    plain = text(path=path, level="bytes", length=16, stride=5)
    monkeypatch.setattr(text_module, "LARGE", 100)
    mapped = text(path=path, level="bytes", length=16, stride=5)
    assert mapped.splits["train"].rows._map is not None
    for split, source in plain.splits.items():
        rows = np.arange(len(source))
        np.testing.assert_array_equal(mapped.splits[split][rows]["targets"], source[rows]["targets"])


def test_gzip_marks_and_wide_characters_are_read(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(("\ufeff" + "añ€😀" * 50).encode()))
    data = text(path=str(tmp_path / "a.txt.gz"), length=4)
    assert data.spec.vocabulary.symbols == ("a", "ñ", "€", "😀")
    latin = text(path=write(tmp_path, "né" * 50, encoding="latin-1"), length=4, encoding="latin-1")
    assert latin.spec.vocabulary.symbols == ("n", "é")


FORMATS = "\n  data=npz reads NumPy's .npy and .npz; data.level=bytes reads any file as bytes"
BROKEN = {
    "encoding": (
        ("x" * 99 + "é").encode("latin-1") + b"y" * 99,
        {},
        "{}: is not utf-8: invalid continuation byte at byte 99\n"
        "  set data.encoding to the file's encoding, for example data.encoding=latin-1; or data.level=bytes",
    ),
    "short": (
        "x" * 64,
        {},
        "{}: has 64 characters, a window and its last target take 65\n  use a longer text, or data.length=3",
    ),
    "empty": (
        "",
        {"level": "bytes"},
        "{}: is empty\n  data.path names a text file",
    ),
    "empty characters": ("", {}, "{}: is empty\n  data.path names a text file"),
    "only a mark": ("\ufeff", {}, "{}: is empty\n  data.path names a text file"),
    "an array": (b"\x93NUMPY\x01\0v\0" + b"x" * 99, {}, "{}: is no text but a NumPy array" + FORMATS),
    "an archive": (b"PK\x03\x04" + b"x" * 99, {}, "{}: is no text but a zip archive" + FORMATS),
    "binary": (
        b"\x7fELF\0\xff" + b"x" * 99,
        {},
        "{}: is no text: it has NUL bytes" + FORMATS + "; or set data.encoding",
    ),
    "binary that decodes": (
        b"x" * 99 + b"\0",
        {},
        "{}: is no text: it has NUL bytes" + FORMATS + "; or set data.encoding",
    ),
    "short validation": (
        "x" * 400,
        {},
        "{}: its part for validation has 20 characters, a window takes 65\n"
        "  use a longer text, a smaller data.length, or data.validation=0",
    ),
    "short training": (
        "x" * 100,
        {"validation": 0.5, "test": 0},
        "{}: its part for train has 50 characters, a window takes 65\n"
        "  use a longer text, a smaller data.length, or data.length=49",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_text_that_cannot_be_used_is_answered_with_one_message(tmp_path, case):
    content, options, message = BROKEN[case]
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        text(path=path, **options)
    assert str(caught.value) == message.replace("{}", path)


def test_utf_16_and_words_that_begin_as_archives_do_are_text(tmp_path):
    wide = text(path=write(tmp_path, "ab" * 100, encoding="utf-16"), encoding="utf-16", length=4)
    assert wide.spec.vocabulary.symbols == ("a", "b")
    assert len(text(path=write(tmp_path, "PK" * 100), length=4).spec.vocabulary) == 2
    assert text(path=write(tmp_path, b"\x93NUMPY\0" * 50), level="bytes", length=4).spec.vocabulary.raw
    with pytest.raises(DataError, match=r"is not utf-8: .*\n  set data.encoding"):
        text(path=write(tmp_path, "ab" * 100, encoding="utf-16"))


def test_files_and_encodings_that_are_none_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no such file\n  data\.path names a text file"):
        text(path=str(tmp_path / "nothing.txt"))
    with pytest.raises(DataError, match="is a folder, not a text file"):
        text(path=str(tmp_path))
    (tmp_path / "b.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match="is not a whole gzip file: Not a gzipped file"):
        text(path=str(tmp_path / "b.gz"))
    with pytest.raises(ConfigError) as caught:
        text(path=write(tmp_path, "x" * 500), encoding="utf-9")
    assert str(caught.value) == "data.encoding: no encoding is called 'utf-9'\n  utf-8 is usual"
