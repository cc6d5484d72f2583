"""Text as a sequence of characters, bytes or a tokenizer's tokens, cut into windows for next-token prediction."""

from __future__ import annotations

import codecs
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data.arrays import LARGE, Column, Mapped, dataset
from bigtrain.data.bounds import check_regular, unpacked
from bigtrain.data.checks import bounded_rows, check_memory, gigabytes
from bigtrain.data.lines import encoding_hint
from bigtrain.data.spec import Dataset, Field, Source, Split, Vocabulary
from bigtrain.data.splits import contiguous_split
from bigtrain.data.tokenization import FACTS, encoded_text, read_tokens
from bigtrain.data.tokenizer import read_tokenizer

NOVEL = "persuasion.txt.gz"
BYTES = Vocabulary(tuple(chr(value) for value in range(256)), raw=True)
ARRAYS = (b"\x93NUMPY", b"PK\3\4", b"PK\5\6")  # how .npy and .npz begin
BEGINNING = 8 << 10  # of a file, looked at for what no text has
LARGEST_ENCODED = 64 << 20  # bytes of text that are encoded at every start: half a minute
NAMES = "data.path names a text file"
COPIES = 10  # bytes of memory that decoding and indexing take for one byte of text, at most


@dataclass(frozen=True)
class Windows:
    """Next-token prediction: the targets are the inputs moved on by one token.

    Args:
        rows: [N, length + 1] tokens, the windows of one split.
    """

    rows: Column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        found = self.rows[indices]
        return {"inputs": np.ascontiguousarray(found[:, :-1]), "targets": np.ascontiguousarray(found[:, 1:])}


def text(
    *,
    path: str | None = None,
    level: Literal["auto", "characters", "bytes", "tokens"] = "auto",
    tokenizer: str | None = None,
    length: PositiveInt = 64,
    stride: PositiveInt | None = None,
    encoding: str = "utf-8",
    validation: Share = 0.05,
    test: Share = 0.05,
) -> Dataset:
    """A text for the prediction of what comes next; without `data.path`, Jane Austen's Persuasion (467 KB).

    The end of the text is held out for testing, the part before it for validation, and no window crosses a border.

    Args:
        path: a text file, plain or .gz; or a folder of tokens that `bigtrain data tokenize` wrote, which is mapped.
        level: `characters` of the text, numbered in the order of their code points; `bytes`, for any file; `tokens` of
            a tokenizer. `auto`: tokens where there is a tokenizer, else characters.
        tokenizer: a tokenizer.json of the tokenizers library; the text is encoded each time.
        length: tokens in a window.
        stride: tokens from the start of one window to that of the next; `length` by default, so that an epoch reads
            every token once. 1 gives every possible window.
        encoding: how the file is encoded, unless level=bytes.
        validation: the share of the characters, bytes or tokens held out for validation.
        test: the share held out for testing.

    Returns:
        `inputs` and `targets`, tokens [length]; the targets are one token ahead.
    """
    where = Path(path).expanduser() if path else Path(str(files("bigtrain.data"))) / "files" / NOVEL
    unit = _level(where, level, tokenizer)
    tokens, vocabulary = _indexed(where, unit, tokenizer, encoding)
    stride = stride or length
    if len(tokens) < length + 1:
        problem = f"has {len(tokens)} {unit}, a window and its last target take {length + 1}"
        raise DataError(where, problem, hint=f"use a longer text, or data.length={max(1, len(tokens) // 20)}")
    splits: dict[Split, Source] = {}
    size = len(vocabulary)
    for split, part in contiguous_split(len(tokens), validation, test).items():
        if len(part):
            splits[split] = _windows(where, split, tokens[part.start : part.stop], length, stride, unit, size)
    field = Field((length,), str(tokens.dtype), "tokens")
    kinds = f"a vocabulary of {size:,}" if unit == "tokens" else f"{size} distinct"
    notes = {"text": f"{len(tokens):,} {unit}, {kinds}", "stride": str(stride)}
    return dataset("text", {"inputs": field, "targets": field}, splits, vocabulary=vocabulary, notes=notes)


def _windows(where: Path, split: Split, tokens: np.ndarray, length: int, stride: int, level: str, size: int) -> Windows:
    """The windows of one split: a view of its tokens, so that overlapping ones take no memory."""
    if len(tokens) < length + 1:
        problem = f"its part for {split} has {len(tokens)} {level}, a window takes {length + 1}"
        key = "length=" if split == "train" else f"{split}="
        value = max(1, len(tokens) - 1) if split == "train" else 0
        raise DataError(where, problem, hint=f"use a longer text, a smaller data.length, or data.{key}{value}")
    rows = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[::stride]
    if isinstance(tokens, np.memmap) and level == "tokens":
        return Windows(Mapped(rows, check=bounded_rows(where, "tokens", size)))
    return Windows(Mapped(rows) if len(tokens) > LARGE else rows)


def _level(where: Path, level: str, tokenizer: str | None) -> str:
    """What a token is; refuses keys that contradict each other."""
    folder = (where / FACTS).is_file()
    if folder and tokenizer is not None:
        raise ConfigError("data.tokenizer", f"{where} has its own", hint="leave data.tokenizer out")
    if (folder or tokenizer is not None) and level not in ("auto", "tokens"):
        made = f"{where} holds tokens" if folder else "the tokenizer makes tokens"
        raise ConfigError("data.level", f"{level!r} can't be had: {made}", hint="leave data.level out")
    if level == "tokens" and not folder and tokenizer is None:
        hint = f"train one: bigtrain data tokenize {where} --output DIR, then data.path=DIR"
        raise ConfigError("data.tokenizer", "level=tokens needs a tokenizer", hint=hint)
    if level == "auto":
        return "tokens" if folder or tokenizer is not None else "characters"
    return level


def _indexed(where: Path, level: str, tokenizer: str | None, encoding: str) -> tuple[np.ndarray, Vocabulary]:
    """The tokens [N] of a file or folder, and what they stand for."""
    if level == "tokens" and tokenizer is None:
        return read_tokens(where)
    raw = _read(where, level)
    if not len(raw):
        raise DataError(where, "is empty", hint=NAMES)
    if level == "bytes":
        return raw, BYTES
    if level == "characters":
        return _by_code_point(_decoded(where, raw, encoding))
    assert tokenizer is not None
    if len(raw) > LARGEST_ENCODED:
        problem = f"has {gigabytes(len(raw))}, too much to encode at every start"
        hint = f"once: bigtrain data tokenize {where} --tokenizer {tokenizer} --output DIR, then data.path=DIR"
        raise DataError(where, problem, hint=hint)
    return encoded_text(read_tokenizer(Path(tokenizer).expanduser(), "data.tokenizer"), _decoded(where, raw, encoding))


def _read(where: Path, level: str) -> np.ndarray:
    """The bytes of a file, uint8 [N]; unpacked if gzipped, mapped if large and used as they are."""
    if where.is_dir() or not where.exists():
        problem = "is a folder, not a text file" if where.is_dir() else "no such file"
        raise DataError(
            where, problem, hint=f"{NAMES}, or a folder that bigtrain data tokenize wrote" if where.is_dir() else NAMES
        )
    try:
        check_regular(where)
        if where.suffix == ".gz":
            smaller = "use a part of it, or unpack it and set data.level=bytes, which maps the file"
            return np.frombuffer(unpacked(where, 1 if level == "bytes" else COPIES, smaller), np.uint8)
        size = where.stat().st_size
        if level == "bytes" and size > LARGE:
            return np.memmap(where, np.uint8, mode="r")
        if level != "bytes":
            check_memory(where, COPIES * size, "use data.level=bytes, which maps the file, or a part of it")
        return np.fromfile(where, np.uint8)
    except OSError as error:
        raise DataError(where, f"can't be read: {error.strerror}") from error


def _decoded(where: Path, raw: np.ndarray, encoding: str) -> str:
    """The text of the bytes, without a byte-order mark; refuses what is no text even if it can be decoded."""
    content = raw.tobytes()
    if content.startswith(ARRAYS):
        kind = "NumPy array" if content.startswith(ARRAYS[0]) else "zip archive"
        hint = "data=npz reads NumPy's .npy and .npz; data.level=bytes reads any file as bytes"
        raise DataError(where, f"is no text but a {kind}", hint=hint)
    try:
        found = content.decode(encoding).removeprefix("\ufeff")
        if not found:
            raise DataError(where, "is empty", hint=NAMES)
        if "\0" in found[:BEGINNING]:
            raise _binary(where)
        return found
    except UnicodeDecodeError as error:
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or "16" in encoding or "32" in encoding
        if b"\0" in content[:BEGINNING] and not wide:
            raise _binary(where) from error
        hint = f"{encoding_hint(where)}; or data.level=bytes"
        raise DataError(where, f"is not {encoding}: {error.reason} at byte {error.start}", hint=hint) from error
    except LookupError as error:
        raise ConfigError("data.encoding", f"no encoding is called {encoding!r}", hint="utf-8 is usual") from error


def _binary(where: Path) -> DataError:
    """The error for a file with NUL bytes, which no text has."""
    hint = "data=npz reads NumPy's .npy and .npz; data.level=bytes reads any file as bytes; or set data.encoding"
    return DataError(where, "is no text: it has NUL bytes", hint=hint)


def _by_code_point(content: str) -> tuple[np.ndarray, Vocabulary]:
    """Each character as its place among the sorted distinct ones, in the smallest type that holds them."""
    order = "little" if sys.byteorder == "little" else "big"
    codes = np.frombuffer(content.encode(f"utf-32-{order[0]}e", "surrogatepass"), np.uint32)
    seen = np.zeros(sys.maxunicode + 1, bool)
    seen[codes] = True
    symbols = np.flatnonzero(seen)
    dtype = np.uint8 if len(symbols) <= 1 << 8 else np.uint16 if len(symbols) <= 1 << 16 else np.int32
    places = np.zeros(sys.maxunicode + 1, dtype)
    places[symbols] = np.arange(len(symbols))
    return places[codes], Vocabulary(tuple(map(chr, symbols.tolist())))
