"""Text: windows, vocabularies, and what is said of files that can't be read."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data import text as text_module
from bigtrain.data.text import text
from bigtrain.data.tokenization import tokenize


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
    with pytest.raises(DataError, match=r"is not utf-8: .*\n  it begins as UTF-16 does: data.encoding=utf-16"):
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


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A text, its folder of tokens, and the tokenizer's file."""
    folder = tmp_path_factory.mktemp("tokens")
    path = Path(write(folder, "The wind -- it's cold -- swept up the streets.\r\n\n" * 30 + "é😀"))
    tokenize([path], folder / "out", vocabulary=280)
    return path, folder / "out", folder / "out" / "tokenizer.json"


def test_a_folder_of_tokens_is_mapped_and_cut_in_order(tokens):
    path, folder, _ = tokens
    data = text(path=str(folder), length=5, stride=2, validation=0.2, test=0.1)
    stored = np.load(folder / "tokens.npy")
    assert data.spec.inputs.dtype == "uint16"
    assert (data.spec.vocabulary.decode(stored), data.spec.vocabulary.end) == (path.read_bytes().decode(), 0)
    sizes = {"validation": round(0.2 * len(stored)), "test": round(0.1 * len(stored))}
    first = len(stored) - sum(sizes.values())
    borders = {"train": (0, first), "validation": (first, len(stored) - sizes["test"]), "test": (-sizes["test"], None)}
    for split, (start, stop) in borders.items():
        rows = np.lib.stride_tricks.sliding_window_view(stored[start:stop], 6)[::2]
        source = data.splits[split]
        assert source.rows._map is not None
        batch = source[np.arange(len(source))]
        np.testing.assert_array_equal(batch["inputs"], rows[:, :-1])
        np.testing.assert_array_equal(batch["targets"], rows[:, 1:])


def test_a_tokenizer_encodes_a_text_as_the_folder_holds_it(tokens):
    path, folder, tokenizer = tokens
    mapped = text(path=str(folder), length=5)
    encoded = text(path=str(path), tokenizer=str(tokenizer), length=5)
    assert encoded.spec.vocabulary.symbols == mapped.spec.vocabulary.symbols
    assert encoded.spec.notes["text"] == f"{len(np.load(folder / 'tokens.npy')) - 1:,} tokens, a vocabulary of 280"
    ours, theirs = (one.splits["train"][np.arange(10)] for one in (encoded, mapped))
    np.testing.assert_array_equal(ours["inputs"], theirs["inputs"])


def test_a_stranger_s_tokens_beyond_the_vocabulary_are_found(tokens, tmp_path):
    folder = Path(shutil.copytree(tokens[1], tmp_path / "out"))
    stored = np.load(folder / "tokens.npy")
    stored[7] = 999
    np.save(folder / "tokens.npy", stored)
    data = text(path=str(folder), length=4, validation=0, test=0)
    with pytest.raises(DataError, match=r"'tokens' holds a token outside \[0, 280\) at index 1$"):
        data.splits["train"][np.array([0, 1])]


def test_keys_that_contradict_each_other_are_named(tokens, tmp_path, monkeypatch):
    path, folder, tokenizer = map(str, tokens)
    cases = (
        ({"path": folder, "tokenizer": tokenizer}, f"data.tokenizer: {folder} has its own\n  leave data.tokenizer out"),
        ({"path": folder, "level": "bytes"},
         f"data.level: 'bytes' can't be had: {folder} holds tokens\n  leave data.level out"),
        ({"path": path, "tokenizer": tokenizer, "level": "characters"},
         "data.level: 'characters' can't be had: the tokenizer makes tokens\n  leave data.level out"),
        ({"path": path, "level": "tokens"},
         "data.tokenizer: level=tokens needs a tokenizer\n"
         f"  train one: bigtrain data tokenize {path} --output DIR, then data.path=DIR"),
        ({"path": path, "tokenizer": "none.json"},
         "none.json: no such file\n  data.tokenizer names a tokenizer.json of the tokenizers library"),
        ({"path": str(tmp_path)},
         f"{tmp_path}: is a folder, not a text file\n"
         "  data.path names a text file, or a folder that bigtrain data tokenize wrote"),
    )  # fmt: skip
    for options, message in cases:
        with pytest.raises((ConfigError, DataError)) as caught:
            text(**options)
        assert str(caught.value) == message
    monkeypatch.setattr(text_module, "LARGEST_ENCODED", 1000)
    with pytest.raises(DataError) as caught:
        text(path=path, tokenizer=tokenizer)
    assert str(caught.value) == (
        f"{path}: has 0.0 MB, too much to encode at every start\n"
        f"  once: bigtrain data tokenize {path} --tokenizer {tokenizer} --output DIR, then data.path=DIR"
    )


def test_a_folder_that_is_not_whole_is_refused(tokens, tmp_path):
    folder = Path(shutil.copytree(tokens[1], tmp_path / "out"))
    (folder / "tokens.npy").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"tokens\.npy: can't be read: .*\n  write it again by bigtrain data tokenize"):
        text(path=str(folder))
    np.save(folder / "tokens.npy", np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"tokens\.npy: holds float64\[3, 3\], no row of tokens"):
        text(path=str(folder))
    (folder / "tokens.npy").unlink()
    with pytest.raises(DataError, match=r"out: has no tokens\.npy"):
        text(path=str(folder))
