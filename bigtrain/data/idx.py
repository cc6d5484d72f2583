"""Images and labels in IDX files, the format of MNIST and its relatives (EMNIST, KMNIST, Fashion-MNIST)."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.config.values import Share
from bigtrain.data.arrays import LARGE, Arrays, dataset
from bigtrain.data.bounds import check_inside
from bigtrain.data.checks import check_lengths, check_memory
from bigtrain.data.columns import Raw, features, labels
from bigtrain.data.spec import Dataset, Source, Split
from bigtrain.data.splits import random_split

# http://yann.lecun.com/exdb/mnist: two zero bytes, a type, the number of dims, then each dim as a big-endian uint32
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PARTS = ("train-images", "train-labels", "test-images", "test-labels")
GZIP_LIMIT = 1040  # deflate can't pack more bytes than this into one


def idx(
    *, dir: str | None = None, validation: Share = 1 / 12, prefix: str | None = None, transpose: bool = False
) -> Dataset:
    """Images and labels in IDX files, raw or gzipped, as MNIST and EMNIST have them.

    Args:
        dir: the folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-… and t10k-labels-…, each
            with or without .gz; `train-images.idx3-ubyte` and `emnist-letters-train-images-idx3-ubyte` are found too.
        validation: the share of the training examples held out for validation; 1/12 is 5,000 of 60,000.
        prefix: what the file names start with where a folder holds several sets, for instance emnist-letters.
        transpose: swap the height and width of the images; EMNIST stores them column by column.

    Returns:
        `inputs` [H, W], bytes scaled to 0 to 1, and `targets`, the class.
    """
    if dir is None:
        hint = "for example: bigtrain fit data=idx data.dir=~/mnist"
        raise ConfigError("data.dir", "no folder is given", allowed="a folder with IDX files", hint=hint)
    return read_folder("idx", Path(dir).expanduser(), validation, prefix=prefix, transpose=transpose)


def read_folder(
    name: str,
    folder: Path,
    validation: float,
    *,
    prefix: str | None = None,
    transpose: bool = False,
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """The data set of one folder of IDX files."""
    paths = find_files(folder, prefix)
    raws = {part: Raw(path, path.name, read_array(path)) for part, path in paths.items()}
    images: dict[Split, Raw] = {"train": raws["train-images"], "test": raws["test-images"]}
    marks: dict[Split, Raw] = {"train": raws["train-labels"], "test": raws["test-labels"]}
    for split, found in images.items():
        check_lengths(folder, {found.name: found.array, marks[split].name: marks[split].array})
    if transpose:
        if images["train"].array.ndim < 3:
            raise ConfigError("data.transpose", f"{images['train'].name} has no height and width to swap")
        images = {split: replace(found, array=found.array.swapaxes(1, 2)) for split, found in images.items()}
    inputs, targets = features(images), labels(marks, len(classes) if classes else None)
    sources = {split: Arrays({"inputs": inputs.columns[split], "targets": targets.columns[split]}) for split in images}
    parts = random_split(len(sources["train"]), validation)
    splits: dict[Split, Source] = {
        "train": sources["train"].subset(parts["train"]),
        "validation": sources["train"].subset(parts["validation"]),
        "test": sources["test"],
    }
    fields = {"inputs": inputs.field, "targets": targets.field}
    return dataset(name, fields, splits, classes=classes or targets.classes, notes={"dir": str(folder)})


def find_files(folder: Path, prefix: str | None = None) -> dict[str, Path]:
    """The four files of a set by the names in `PARTS`.

    Raises:
        DataError: when the folder doesn't exist or a file is missing; it names what was looked for and what is there.
        ConfigError: when the folder holds more than one set and `prefix` doesn't say which.
    """
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(folder, problem, hint="data.dir names the folder that holds the IDX files")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    found: dict[str, dict[str, Path]] = {}
    for name in names:  # a raw file sorts before its .gz, and is faster to read
        match = re.fullmatch(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[-.]idx\d-\w+(\.gz)?", name)
        if match:
            part = f"{'train' if match[2] == 'train' else 'test'}-{match[3]}"
            found.setdefault(match[1] or "", {}).setdefault(part, folder / name)
    sets = [start for start in found if prefix is None or start == prefix]
    if len(sets) > 1:
        listed = ", ".join(start or "(none)" for start in sets)
        raise ConfigError("data.prefix", f"{folder} holds {len(sets)} sets", allowed=listed)
    files = found[sets[0]] if sets else {}
    missing = [part for part in PARTS if part not in files]
    if missing:
        start = f"{prefix}-" if prefix else ""
        wanted = ", ".join(_usual_name(part, start) for part in missing)
        there = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise DataError(folder, f"lacks {wanted} (with or without .gz)", hint=f"it holds: {there or 'no files'}")
    check_inside(folder, files.values())
    return {part: files[part] for part in PARTS}


def _usual_name(part: str, start: str) -> str:
    """The name that MNIST gave to a part of the set."""
    part = part.replace("test", "t10k")
    return f"{start}{part}-idx{3 if part.endswith('images') else 1}-ubyte"


def read_array(path: Path) -> np.ndarray:
    """The array of one IDX file in native byte order; a raw file above 1 GB is mapped, not read."""
    size = path.stat().st_size
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            dtype, shape = _header(path, cast(BinaryIO, stream))
            start = 4 + 4 * len(shape)
            expected = start + dtype.itemsize * int(np.prod(shape, dtype=object))
            possible = size * GZIP_LIMIT if packed else size
            if expected > possible:
                raise _truncated(path, expected, None if packed else size)
            if not packed and size == expected > LARGE and len(shape) > 1:
                return np.memmap(path, dtype, mode="r", offset=start, shape=shape)
            check_memory(path, expected, "use a smaller set, or unpack the .gz so that it can be mapped")
            body = stream.read(expected - start)
            rest = stream.read(1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        hint = "the file was cut short or damaged: fetch it again"
        raise DataError(path, f"is not a whole gzip file: {error}", hint=hint) from error
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror}") from error
    if len(body) < expected - start:
        raise _truncated(path, expected, start + len(body))
    if rest:
        surplus = f", got {size}" if not packed else ""
        raise DataError(path, f"has bytes after its last value: expected {expected} bytes{surplus}")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(path: Path, stream: BinaryIO) -> tuple[np.dtype, tuple[int, ...]]:
    """The type and shape that an IDX file declares."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise _truncated(path, 4, len(magic))
    if magic[:2] != b"\0\0" or magic[2] not in DTYPES or not 1 <= magic[3] <= 8:
        hint = "it starts with two zero bytes, a type (8, 9, 11, 12, 13 or 14) and the number of dims"
        if magic[:2] == b"\x1f\x8b":
            hint = "it is gzip: give it a name that ends with .gz"
        raise DataError(path, f"is not an IDX file: it starts with {magic.hex(' ')}", hint=hint)
    dims = stream.read(4 * magic[3])
    if len(dims) < 4 * magic[3]:
        raise _truncated(path, 4 + 4 * magic[3], 4 + len(dims))
    return np.dtype(DTYPES[magic[2]]), tuple(int(dim) for dim in np.frombuffer(dims, ">u4"))


def _truncated(path: Path, expected: int, got: int | None) -> DataError:
    """The error for a file with fewer bytes than its header declares."""
    problem = f"is truncated: expected {expected} bytes" + ("" if got is None else f", got {got}")
    return DataError(path, problem, hint="the download or copy was cut short: fetch it again")
