"""Arrays from the file formats that prediction reads; what they mean to a model is judged in `inputs`."""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.bounds import check_archive
from bigtrain.data.pictures import FORMATS
from bigtrain.data.spec import Field

READS = (
    ".npy", ".npz", ".csv", ".txt", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".wav", ".wave", ".tsv", ".tab", ".jsonl", ".ndjson", ".data", ".dat", ".gz", ".parquet", ".pq", ".ts",
)  # fmt: skip
EXTRAS = ("lengths", "segments")
_NAMES = ("inputs", "x", "X", "images", "data", "features", "x_test")
_DAMAGE = (
    ValueError, OSError, EOFError, KeyError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile,
    MemoryError,
)  # fmt: skip


def check_input(path: Path) -> None:
    """Refuses a file that can't be read whatever the model, before anything is loaded."""
    if path.is_dir():  # of pictures or sounds, for a model that reads them
        return
    if not path.is_file():
        raise DataError(path, "there is no such file")
    suffix = path.suffix.lower()
    if suffix not in READS:
        raise DataError(path, f"can't read {suffix or 'a file without a suffix'}", hint=f"it reads {' '.join(READS)}")
    if path.stat().st_size == 0:
        raise DataError(path, "is empty")


def arrays(path: Path, field: Field) -> dict[str, np.ndarray]:
    """The arrays of a file as stored: `inputs`, and `lengths` and `segments` where an archive has them.

    Args:
        path: the file.
        field: the model's inputs; a picture is converted to its number of channels.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return {"inputs": np.load(path, allow_pickle=False)}
        if suffix == ".npz":
            return _archive(path)
        if suffix == ".csv":
            return {"inputs": _table(path)}
        if suffix == ".txt":
            raise ValueError("text is for language models")
        return {"inputs": _picture(path, field)[None]}
    except _DAMAGE as error:
        if "allow_pickle" in str(error):
            problem = "holds pickled Python objects, which are never loaded"
            raise DataError(path, problem, hint="save plain arrays of numbers with numpy.save") from error
        raise DataError(path, f"can't be read: {' '.join(str(error).split())[:200]}") from error


def _archive(path: Path) -> dict[str, np.ndarray]:
    check_archive(path, "predict a part of it at a time")
    with np.load(path, allow_pickle=False) as archive:
        name = next((name for name in _NAMES if name in archive), None)
        if name is None and len(archive.files) == 1:
            name = archive.files[0]
        if name is None:
            raise ValueError(f"none of its arrays ({', '.join(archive.files)}) is named {' or '.join(_NAMES[:3])}")
        return {"inputs": archive[name], **{extra: archive[extra] for extra in EXTRAS if extra in archive}}


def _table(path: Path) -> np.ndarray:
    """The numbers of a CSV file [N, D]: integers where all of them are; a first line without any number is a header."""
    lines = [(number, line) for number, line in enumerate(_lines(path), 1) if line.strip()]
    if lines and ";" in lines[0][1]:
        raise DataError(
            path, "its separator is ';'", hint="the separator must be a comma, and the decimal sign a point"
        )
    if lines and not any(_is_number(cell) for cell in lines[0][1].split(",")):
        lines = lines[1:]
    if not lines:
        raise DataError(path, "holds no examples")
    body = [line for _, line in lines]
    whole = not any(sign in line for line in body for sign in ".eEnN")
    for dtype in (np.int64, np.float64) if whole else (np.float64,):
        try:
            return np.loadtxt(body, dtype, delimiter=",", ndmin=2, comments=None)
        except (ValueError, OverflowError):
            continue
    raise _wrong_row(path, lines)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").splitlines()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _wrong_row(path: Path, lines: list[tuple[int, str]]) -> DataError:
    """The first row that is no row of numbers; rows are counted from 1, the header among them."""
    width = len(lines[0][1].split(","))
    for number, line in lines:
        cells = line.split(",")
        wrong = [cell.strip() for cell in cells if not _is_number(cell)]
        if wrong:
            return DataError(path, f"row {number}: {wrong[0][:40]!r} is no number")
        if len(cells) != width:
            return DataError(path, f"row {number} has {len(cells)} values, and row {lines[0][0]} has {width}")
    return DataError(path, "is no table of numbers")


def _picture(path: Path, field: Field) -> np.ndarray:
    """A picture as bytes [H, W] or [H, W, C], with the channels that the model reads."""
    from PIL import Image, UnidentifiedImageError

    channels = field.shape[2] if len(field.shape) == 3 else 1
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if mode is None:
        raise DataError(path, f"a picture has no {channels} channels", hint="give the inputs as .npy")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"its pixels have more than 8 bits (mode {image.mode}); save it with 8")
                return np.asarray(image.convert(mode))
    except UnidentifiedImageError as error:
        raise ValueError("no image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(str(error)) from error
