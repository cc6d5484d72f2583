"""Small sets of files: images, sounds, ArrayRecord shards, and what Hugging Face's library saves."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from bigtrain.data.array_record import packed
from bigtrain.data.arrays import Arrays
from bigtrain.data.serialize import spec_to_json
from bigtrain.data.spec import Field, Spec


def write_images(folder: Path, *, number: int = 20, classes: tuple[str, ...] = ("dark", "light")) -> Path:
    """Grey PNGs of mixed sizes, a folder a class; the classes differ in brightness."""
    rng = np.random.default_rng(0)
    for at, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(number):
            height, width = rng.integers(5, 12, 2)
            pixels = rng.integers(0, 60, (height, width)) + 190 * at // max(1, len(classes) - 1)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:03d}.png")
    return folder


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> Path:
    """A mono sound of 16 bits; the samples lie within -1 to 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def write_sounds(folder: Path, *, number: int = 20) -> Path:
    """Low and high tones of different lengths."""
    rng = np.random.default_rng(0)
    for name, hertz in (("high", 2500), ("low", 400)):
        for index in range(number):
            time = np.arange(rng.integers(500, 1200)) / 8000
            write_wav(folder / name / f"{index:03d}.wav", 0.5 * np.sin(2 * np.pi * hertz * time))
    return folder


def write_shard(path: Path, records: list[bytes]) -> Path:
    """One ArrayRecord file."""
    from array_record.python.array_record_module import ArrayRecordWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return path


def examples(number: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Bytes [N, 4, 3] with a label each."""
    rng = np.random.default_rng(seed)
    return {
        "inputs": rng.integers(0, 256, (number, 4, 3)).astype(np.uint8),
        "targets": (np.arange(number) % 3).astype(np.int32),
    }


def archive(example: Mapping[str, object]) -> bytes:
    """An example as an .npz archive."""
    file = io.BytesIO()
    np.savez(file, **example)
    return file.getvalue()


def write_array_records(folder: Path, *, archives: bool = False) -> Path:
    """Two shards for training and one for each other split, with a spec.json; the records are bytes, or archives."""
    fields = {
        "inputs": Field((4, 3), "uint8", "features", 1 / 255, 0.0, 1.0), "targets": Field((), "int32", "label"),
    }  # fmt: skip
    for at, name in enumerate(("train-0", "train-1", "validation-0", "test-0")):
        found = examples(12, at)
        rows = [archive({key: values[row] for key, values in found.items()}) for row in range(12)]
        write_shard(folder / f"{name}.array_record", rows if archives else packed(found, fields))
    spec = Spec("shards", fields, {"train": 24, "validation": 12, "test": 12}, ("a", "b", "c"))
    (folder / "spec.json").write_text(spec_to_json(spec))
    return folder


def write_huggingface(folder: Path) -> Path:
    """Numbers with a class each, in three splits."""
    import datasets

    rng = np.random.default_rng(0)
    features = datasets.Features(
        {
            "a": datasets.Value("float32"),
            "b": datasets.Value("int32"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    splits = {}
    for name, number in (("train", 40), ("validation", 10), ("test", 10)):
        columns = {
            "a": rng.normal(size=number), "b": rng.integers(0, 9, number), "label": rng.integers(0, 2, number)
        }  # fmt: skip
        splits[name] = datasets.Dataset.from_dict(columns, features=features)
    datasets.disable_progress_bars()
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


def arrays_of(number: int) -> Arrays:
    """`examples` as a source."""
    return Arrays(examples(number))
