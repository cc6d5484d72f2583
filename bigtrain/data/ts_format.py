"""The .ts format of the time series archives (aeon, sktime): a header of @tags, then one example a line.

The channels of an example are separated by ':', its values by ',', and the label or target follows the last channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.bounds import check_regular


@dataclass(frozen=True)
class Header:
    """What the @tags of a file say."""

    timestamps: bool = False
    labelled: bool = False
    real: bool = False  # the last entry of a line is a real target, not a class
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesFile:
    """The examples of a file: each [T, C] with NaN where a value is missing, and the texts of their targets."""

    path: Path
    header: Header
    values: list[np.ndarray]
    targets: list[str] | None


def read_ts(path: Path) -> SeriesFile:
    """Reads a .ts file.

    Raises:
        DataError: naming the line, for anything that is no example; for files with time stamps, which aren't read.
    """
    check_regular(path)
    try:
        lines = enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1)
    except UnicodeDecodeError as error:
        raise DataError(path, f"is no UTF-8 text: byte {error.start}") from error
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror}") from error
    header = _header(path, lines)
    if header.timestamps:
        hint = "write the values without their times, evenly spaced, and @timeStamps false"
        raise DataError(path, "has time stamps, which aren't read", hint=hint)
    values, targets = [], []
    for number, line in lines:
        text = line.strip()
        if not text or text[0] in "#%":
            continue
        channels = text.split(":")
        if header.labelled:
            targets.append(channels.pop().strip())
        values.append(_example(path, number, channels))
        if values[-1].shape[1] != values[0].shape[1]:
            problem = f"line {number} has {values[-1].shape[1]} channels, and the first example {values[0].shape[1]}"
            raise DataError(path, problem)
    if not values:
        raise DataError(path, "holds no examples", hint="they follow the line @data, one a line")
    return SeriesFile(path, header, values, targets if header.labelled else None)


def pair_of(where: Path) -> dict[str, Path]:
    """The training file and, where there is one, the test file that a path means: `X_TRAIN.ts` and `X_TEST.ts`."""
    if where.is_dir():
        where = _of_folder(where)
    stem = where.stem
    for mark, other in (("_TRAIN", "_TEST"), ("_TEST", "_TRAIN")):
        if stem.upper().endswith(mark):
            base = stem[: -len(mark)]
            twin = where.with_name(f"{base}{other if stem.endswith(mark) else other.lower()}{where.suffix}")
            if twin.is_file():
                return {"train": where, "test": twin} if mark == "_TRAIN" else {"train": twin, "test": where}
            if mark == "_TEST":
                raise DataError(where, f"is for testing, and there is no {twin.name} beside it to train on")
    return {"train": where}


def _of_folder(folder: Path) -> Path:
    """The training file of a folder; the one called like the folder if there are several."""
    files = sorted(folder.glob("*_TRAIN.ts")) or sorted(folder.glob("*.ts"))
    named = [file for file in files if file.stem.removesuffix("_TRAIN") == folder.name]
    if not files:
        raise DataError(folder, "holds no .ts file", hint="data.path names a .ts, .npz or .npy file")
    if len(files) > 1 and not named:
        listed = ", ".join(file.name for file in files[:4])
        raise DataError(folder, f"holds several problems: {listed}", hint=f"choose one: data.path={files[0]}")
    return (named or files)[0]


def _header(path: Path, lines: Iterator[tuple[int, str]]) -> Header:
    """The tags up to @data, whatever their case."""
    found: dict[str, list[str]] = {}
    for number, line in lines:
        words = line.split()
        if not words or words[0][0] in "#%":
            continue
        if not words[0].startswith("@"):
            hint = "a .ts file begins with tags: @problemName …, @univariate …, @classLabel …, @data"
            raise DataError(path, f"line {number}: a tag or @data is expected, not {line.strip()[:40]!r}", hint=hint)
        tag = words[0][1:].lower()
        if tag == "data":
            break
        found[tag] = words[1:]
    else:
        raise DataError(path, "has no line @data", hint="is it a .ts file of a time series archive?")
    labels, targets = found.get("classlabel", ["false"]), found.get("targetlabel", ["false"])
    classes = _is_true(labels)
    return Header(
        timestamps=_is_true(found.get("timestamps", ["false"])),
        labelled=classes or _is_true(targets),
        real=not classes and _is_true(targets),
        classes=tuple(labels[1:]) if classes else (),
    )


def _is_true(words: list[str]) -> bool:
    return bool(words) and words[0].lower() == "true"


def _example(path: Path, number: int, channels: list[str]) -> np.ndarray:
    """One example [T, C] of the texts of its channels; a missing value '?' becomes NaN."""
    found = []
    for at, text in enumerate(channels):
        try:
            found.append(np.array([np.nan if cell.strip() == "?" else float(cell) for cell in text.split(",")]))
        except ValueError as error:
            problem = f"line {number}, channel {at + 1}: {str(error).rsplit(':', 1)[-1].strip()[:40]} is no number"
            hint = "values are separated by ',', channels by ':', a missing value is '?'"
            raise DataError(path, problem, hint=hint) from error
        if len(found[-1]) != len(found[0]):
            problem = f"line {number}: channel {at + 1} has {len(found[-1])} steps, channel 1 has {len(found[0])}"
            raise DataError(path, problem, hint="the channels of an example must be equally long")
    return np.stack(found, axis=1)
