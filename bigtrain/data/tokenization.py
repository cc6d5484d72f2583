"""A tokenizer for a text, and the text as a file of tokens: read, encoded and written piece by piece."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean
from bigtrain.data.bounds import check_inside
from bigtrain.data.lines import BEGINNING, unknown_encoding
from bigtrain.data.tokenizer import BYTE_SYMBOLS, Method, new_tokenizer, read_tokenizer, vocabulary_of
from bigtrain.data.vocabulary import Vocabulary

PIECE = 64 << 10  # characters encoded as one string: what a tokenizer keeps for one is about 100 times as large
TOGETHER = 16  # strings handed to the tokenizer's threads at once
CHUNK = 1 << 20  # bytes read from a file at once
LONGEST = 16  # pieces: a text without white space is cut anywhere after so many
TOKENS, TOKENIZER, FACTS = "tokens.npy", "tokenizer.json", "tokens.json"


def tokenize(
    files: Sequence[Path],
    output: Path,
    *,
    vocabulary: int = 8000,
    method: str = "bytes-bpe",
    tokenizer: Path | None = None,
    encoding: str = "utf-8",
) -> dict[str, Any]:
    """Writes the folder `output`: tokenizer.json, tokens.npy (uint16, or uint32 where needed) and tokens.json.

    Each file is a document; where the tokenizer has an end token, one follows each.

    Args:
        files: the texts, plain or .gz.
        output: a new folder.
        vocabulary: tokens of the tokenizer, if it is trained.
        method: how it is trained; one of `Method`.
        tokenizer: a tokenizer's JSON file to encode with, instead of training one.
        encoding: how the files are encoded.

    Returns:
        What tokens.json holds.

    Raises:
        DataError: for a file that can't be used.
        ConfigError: for an option; it is named with its dashes.
    """
    _check(files, output, vocabulary, method, encoding)
    if tokenizer is None:
        found = new_tokenizer((piece for file in files for piece in pieces(file, encoding)), vocabulary, method)
    else:
        found = read_tokenizer(tokenizer)
    symbols = vocabulary_of(found)
    fresh = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(output, f"can't be made: {error.strerror}", hint="name another folder by --output") from error
    try:
        counts = _write_tokens(output / TOKENS, files, encoding, found, symbols)
    except DataError:
        if fresh:
            output.rmdir()
        raise
    (output / TOKENIZER).write_text(symbols.tokenizer or "", encoding="utf-8")
    facts = {
        "format": 1, "vocabulary": len(symbols), "end": symbols.end, "method": method if tokenizer is None else None,
        **counts,
    }  # fmt: skip
    (output / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")  # last: with it the folder is complete
    return facts


def _check(files: Sequence[Path], output: Path, vocabulary: int, method: str, encoding: str) -> None:
    """Refuses what can be seen to be wrong before anything is read."""
    if method not in get_args(Method):
        hint = did_you_mean(method, get_args(Method))
        raise ConfigError("--method", f"{method!r} is none", allowed=get_args(Method), hint=hint)
    if method == "bytes-bpe" and vocabulary < BYTE_SYMBOLS:
        raise ConfigError("--vocabulary", f"{vocabulary} is too small for the bytes", allowed=f"from {BYTE_SYMBOLS} on")
    if not files:
        raise DataError("bigtrain data tokenize", "no text is given", hint="name one or more text files")
    for file in files:
        if not file.is_file():
            raise DataError(file, "is a folder, not a text file" if file.is_dir() else "no such file")
    if output.exists() and not output.is_dir():
        raise DataError(output, "is a file, and --output names a folder")
    if (output / FACTS).exists():
        raise DataError(output, "holds tokens already", hint="remove it, or name another folder by --output")
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise unknown_encoding(encoding, "--encoding") from error


def pieces(path: Path, encoding: str, size: int = PIECE) -> Iterator[str]:
    """The text of a file in strings of about `size` characters, cut before white space, where every tokenizer cuts.

    A byte-order mark is left out; line ends stay as they are.

    Raises:
        DataError: where the file isn't so encoded, or is no text.
    """
    yield from cut(_decoded(path, encoding), size)


def cut(texts: Iterable[str], size: int) -> Iterator[str]:
    """A stream of strings as one text, in strings of about `size` characters, each but the first from white space."""
    held = ""
    for text in texts:
        held, start = held + text, 0
        while len(held) - start > size:
            at = border(held, start + size)
            if at is None and len(held) - start <= LONGEST * size:
                break
            at = at or start + size
            yield held[start:at]
            start = at
        held = held[start:]
    if held:
        yield held


def border(text: str, size: int) -> int | None:
    """The first place from `size` on where white space begins."""
    found = [at for mark in " \n" if (at := _edge(text, mark, size)) is not None]
    return min(found, default=None)


def _edge(text: str, mark: str, start: int) -> int | None:
    """The first `mark` from `start` on that doesn't follow white space."""
    at = text.find(mark, start)
    while at > 0 and text[at - 1].isspace():
        at = text.find(mark, at + 1)
    return at if at > 0 else None


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    decoder, read = codecs.getincrementaldecoder(encoding)(), 0
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            while True:
                chunk = file.read(CHUNK)
                first, read, held = not read, read + len(chunk), len(decoder.getstate()[0])
                text = decoder.decode(chunk, final=not chunk)
                text = text.removeprefix("\ufeff") if first else text
                if first and "\0" in text[:BEGINNING]:
                    raise DataError(path, "is no text: it has NUL bytes", hint="set --encoding to the file's encoding")
                yield text
                if not chunk:
                    return
    except UnicodeDecodeError as error:
        at = read - len(chunk) - held + error.start
        hint = "set --encoding to the file's encoding, for example --encoding latin-1"
        raise DataError(path, f"is not {encoding}: {error.reason} at byte {at}", hint=hint) from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        hint = "the file was cut short or damaged: fetch it again"
        raise DataError(path, f"is not a whole gzip file: {error}", hint=hint) from error
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror}") from error


def encoded(tokenizer: Any, texts: Iterable[str]) -> Iterator[np.ndarray]:
    """The tokens of a stream of strings, some strings at a time."""
    rest = iter(texts)
    while batch := list(islice(rest, TOGETHER)):
        for found in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield np.array(found.ids, np.int64)


def encoded_text(tokenizer: Any, text: str) -> tuple[np.ndarray, Vocabulary]:
    """The tokens [T] of a text, and what they stand for."""
    vocabulary = vocabulary_of(tokenizer)
    found = np.concatenate(list(encoded(tokenizer, cut([text], PIECE))))
    return found.astype(_dtype(vocabulary)), vocabulary


def read_tokens(folder: Path) -> tuple[np.ndarray, Vocabulary]:
    """The tokens [N] of a folder that `tokenize` wrote, mapped from disk, and what they stand for.

    Raises:
        DataError: for a folder that isn't whole.
    """
    hint = "write it again by bigtrain data tokenize"
    for name in (TOKENS, TOKENIZER):
        if not (folder / name).is_file():
            raise DataError(folder, f"has no {name}", hint=hint)
    check_inside(folder, (folder / TOKENS, folder / TOKENIZER))
    vocabulary = vocabulary_of(read_tokenizer(folder / TOKENIZER))
    try:
        tokens = np.lib.format.open_memmap(folder / TOKENS, mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise DataError(folder / TOKENS, f"can't be read: {error}", hint=hint) from error
    if tokens.ndim != 1 or tokens.dtype.kind != "u" or tokens.dtype.itemsize > 4:
        raise DataError(folder / TOKENS, f"holds {tokens.dtype}{list(tokens.shape)}, no row of tokens", hint=hint)
    return tokens, vocabulary


def _dtype(vocabulary: Vocabulary) -> np.dtype:
    return np.dtype("<u2" if len(vocabulary) <= 1 << 16 else "<u4")


def _write_tokens(
    path: Path, files: Sequence[Path], encoding: str, tokenizer: Any, vocabulary: Vocabulary
) -> dict[str, Any]:
    """Writes the tokens of all files, and counts."""
    dtype, end = _dtype(vocabulary), vocabulary.end
    sources: list[dict[str, Any]] = []
    characters = unknown = 0

    def counted(file: Path) -> Iterator[str]:
        nonlocal characters
        for piece in pieces(file, encoding):
            characters += len(piece)
            yield piece

    part = path.with_suffix(".part")
    with open(part, "wb") as stream:
        stream.write(_header(dtype, 0))
        for file in files:
            before = stream.tell()
            for tokens in encoded(tokenizer, counted(file)):
                stream.write(tokens.astype(dtype).tobytes())
                unknown += int((tokens == vocabulary.unknown).sum()) if vocabulary.unknown is not None else 0
            if stream.tell() > before and end is not None:
                stream.write(np.array([end], dtype).tobytes())
            sources.append({"file": str(file.absolute()), "tokens": (stream.tell() - before) // dtype.itemsize})
        total = sum(source["tokens"] for source in sources)
        stream.seek(0)
        stream.write(_header(dtype, total))
    if not total:
        part.unlink()
        raise DataError(files[0], "is empty")
    os.replace(part, path)
    return {
        "tokens": total, "unknown": unknown, "characters": characters, "dtype": dtype.name, "encoding": encoding,
        "files": sources,
    }  # fmt: skip


def _header(dtype: np.dtype, length: int) -> bytes:
    """How an .npy of so many values begins; NumPy leaves room, so that every length takes the same number of bytes."""
    stream: IO[bytes] = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": (length,)})
    stream.seek(0)
    return stream.read()
