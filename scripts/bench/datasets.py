"""Writes the data of the workloads, once, as folders of .npy files that every framework reads alike."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian: apt install dataset-fashion-mnist
NOVEL = Path(__file__).resolve().parents[2] / "bigtrain" / "data" / "files" / "persuasion.txt.gz"
HELD = 1_000  # examples for validation, and for testing
VERSION = 1  # part of the folder's name: raise it when a writer changes

Arrays = dict[str, np.ndarray]


def fashion(*, small: bool) -> Arrays:
    """60,000 grey images [28, 28] from 0 to 1, f32; noisy patterns of the same shape where the files are missing."""
    number = 6_000 if small else 60_000
    if not FASHION.is_dir():
        return patterns(number)
    parts = {}
    for split, prefix in (("train", "train"), ("held", "t10k")):
        parts[f"x_{split}"] = (_idx(f"{prefix}-images-idx3-ubyte.gz", 16) / np.float32(255)).reshape(-1, 28, 28)
        parts[f"y_{split}"] = _idx(f"{prefix}-labels-idx1-ubyte.gz", 8).astype(np.int32)
    return _held(parts["x_train"][:number], parts["y_train"][:number], parts["x_held"], parts["y_held"])


def patterns(number: int) -> Arrays:
    """Ten classes, each a pattern and noise: as learnable as digits, and of the same shape as Fashion-MNIST."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, number + 2 * HELD).astype(np.int32)
    centres = rng.random((10, 28, 28), np.float32)
    images = 0.6 * centres[labels] + 0.4 * rng.random((len(labels), 28, 28), np.float32)
    return _held(images[:number], labels[:number], images[number:], labels[number:])


def tokens(*, small: bool) -> Arrays:
    """20,000 sequences of 50 tokens under 1,000; the label is the commonest last digit of the last 20 tokens."""
    rng = np.random.default_rng(0)
    number = 2_000 if small else 20_000
    rows = rng.integers(0, 1_000, (number + 2 * HELD, 50)).astype(np.int32)
    counts = np.stack([(rows[:, -20:] % 10 == digit).sum(1) for digit in range(10)], axis=1)
    labels = counts.argmax(1).astype(np.int32)
    return _held(rows[:number], labels[:number], rows[number:], labels[number:])


def text(*, small: bool) -> Arrays:
    """Windows of 256 bytes of a novel, each starting 64 after the last, and the same moved by one byte."""
    raw = np.frombuffer(gzip.decompress(NOVEL.read_bytes()), np.uint8).astype(np.int32)
    starts = np.arange(0, len(raw) - 257, 64)
    held = min(len(starts) // 10, 256)
    rows = raw[starts[:, None] + np.arange(257)]
    train, rest = rows[: 1_000 if small else len(rows) - held], rows[-held:]
    return _held(train[:, :-1], train[:, 1:], rest[:, :-1], rest[:, 1:])


def _held(x: np.ndarray, y: np.ndarray, x_held: np.ndarray, y_held: np.ndarray) -> Arrays:
    """The splits under the names that bigtrain knows; what is held out is cut in two."""
    half = min(len(x_held) // 2, HELD)
    return {
        "x_train": x, "y_train": y, "x_val": x_held[:half], "y_val": y_held[:half],
        "x_test": x_held[half : 2 * half], "y_test": y_held[half : 2 * half],
    }  # fmt: skip


def _idx(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=header)


WRITERS: dict[str, Callable[..., Arrays]] = {"fashion": fashion, "tokens": tokens, "bytes": text}
"""By the name that a workload uses."""


def written(name: str, folder: Path, *, small: bool = False) -> Path:
    """The folder of a data set, written if it isn't there yet."""
    target = folder / f"{name}{'-small' if small else ''}-{VERSION}"
    if not target.is_dir():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        for key, array in WRITERS[name](small=small).items():
            np.save(partial / f"{key}.npy", np.ascontiguousarray(array))
        os.replace(partial, target)
    return target
