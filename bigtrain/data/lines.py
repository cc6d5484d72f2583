"""Text files as text and as lines, whatever their line ends; what is no text in the given encoding is refused."""

from __future__ import annotations

import codecs
from pathlib import Path

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.bounds import check_regular, unpacked
from bigtrain.data.checks import check_memory

ENCODING = "set data.encoding to the file's encoding, for example data.encoding=latin-1"
AS_UTF8 = "save it as {encoding}, which the model was trained on"
BEGINNING = 8 << 10  # characters of a file, looked at for what no text has
COPIES = 6  # bytes of memory that reading, decoding and cutting take for one byte of text, at most


def encoding_hint(path: Path) -> str:
    """What to do about a file that isn't encoded as it was read, by how it begins."""
    with open(path, "rb") as file:
        begin = file.read(4)
    if begin == b"PAR1":
        return "it is a Parquet file, which data=parquet reads"
    if begin[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "it begins as UTF-16 does: data.encoding=utf-16"
    return ENCODING


def read_lines(path: Path, encoding: str = "utf-8", *, hint: str = ENCODING) -> list[str]:
    """The lines of a text file, plain or .gz, without their ends and without a byte-order mark.

    Only line feeds end a line (with the carriage return before them), not the form feeds and separators that
    `str.splitlines` cuts at. Empty lines are kept.

    Args:
        path: the file.
        encoding: how it is encoded.
        hint: what to do if it isn't.

    Raises:
        DataError: for a file that can't be read, isn't so encoded, or is no text.
        ConfigError: for an encoding that doesn't exist; it names `data.encoding`.
    """
    content = read_text(path, encoding, hint=hint)
    lines = content.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_text(path: Path, encoding: str = "utf-8", *, hint: str = ENCODING) -> str:
    """The whole text of a file, as `read_lines` reads it, with its line ends as they are."""
    return decoded(path, _bytes(path), encoding, hint=hint)


def decoded(where: object, raw: bytes, encoding: str, *, hint: str = ENCODING) -> str:
    """Bytes as text without a byte-order mark; refuses what is no text even if it can be decoded."""
    try:
        found = raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(where, f"is not {encoding}: {error.reason} at byte {error.start}", hint=hint) from error
    except LookupError as error:
        raise unknown_encoding(encoding) from error
    if "\0" in found[:BEGINNING]:
        raise DataError(where, "is no text: it has NUL bytes", hint=hint)
    return found


def unknown_encoding(encoding: str, key: str = "data.encoding") -> ConfigError:
    """The error for an encoding that Python doesn't know."""
    return ConfigError(key, f"no encoding is called {encoding!r}", hint="utf-8 is usual")


def _bytes(path: Path) -> bytes:
    """The bytes of a file, unpacked if gzipped."""
    if path.is_dir() or not path.exists():
        raise DataError(path, "is a folder, not a text file" if path.is_dir() else "no such file")
    try:
        check_regular(path)
        check_memory(path, COPIES * path.stat().st_size, "use a part of it")
        return unpacked(path, COPIES, "use a part of it") if path.suffix.lower() == ".gz" else path.read_bytes()
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror}") from error
