"""Predictions in batches, and the formats they are written in."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jax
import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.placement import prepare
from bigtrain.data.spec import Spec
from bigtrain.inference.load import Trained
from bigtrain.models.split import Parts

WRITES = (".npz", ".npy", ".csv", ".jsonl")
BATCH = 256


def predict(trained: Trained, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the task predicts for each example, by name; every batch but the last has the same size."""
    number = len(batch["inputs"])
    if number == 0:
        raise DataError("--input", "holds no examples")
    task, size = trained.task, min(BATCH, number)

    @jax.jit
    def compiled(
        parts: tuple[dict[str, jax.Array], dict[str, jax.Array]], batch: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        model = trained.model(Parts(*parts), jax.random.key(0))
        return task.predict(model, prepare(trained.spec, batch))

    parts = trained.parts()
    pieces = []
    for first in range(0, number, size):
        piece = {name: values[first : first + size] for name, values in batch.items()}
        short = size - len(piece["inputs"])
        padded = {name: np.concatenate([values, np.repeat(values[-1:], short, 0)]) for name, values in piece.items()}
        found = jax.device_get(compiled((parts.params, parts.rest), padded))
        pieces.append({name: np.asarray(values)[: size - short] for name, values in found.items()})
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def check_output(path: Path) -> None:
    """Refuses a format that can't be written, before anything is computed."""
    if path.suffix.lower() not in WRITES:
        raise DataError(
            path, f"can't write {path.suffix or 'a file without a suffix'}", hint=f"it writes {' '.join(WRITES)}"
        )
    if not path.absolute().parent.is_dir():
        raise DataError(path, f"there is no folder {path.absolute().parent}")


def write(path: Path, found: dict[str, np.ndarray], spec: Spec) -> None:
    """Writes predictions by the file's suffix: arrays as they are, or one row an example."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        np.savez(path, **found)  # type: ignore[arg-type]
    elif suffix == ".npy":
        np.save(path, next(iter(found.values())))
    elif suffix == ".jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for row in range(len(next(iter(found.values())))):
                file.write(json.dumps({name: _plain(name, values[row], spec) for name, values in found.items()}) + "\n")
    else:
        _write_csv(path, found, spec)


def _plain(name: str, value: np.ndarray, spec: Spec) -> object:
    if name == "label" and value.ndim == 0 and spec.classes:
        return spec.classes[int(value)]
    return value.tolist()


def _write_csv(path: Path, found: dict[str, np.ndarray], spec: Spec) -> None:
    columns: dict[str, list[object]] = {}
    for name, values in found.items():
        if values.ndim == 1:
            columns[name] = [_plain(name, value, spec) for value in values]
        else:
            flat = values.reshape(len(values), -1)
            labels = spec.classes if name == "probability" and spec.classes else range(flat.shape[1])
            for label, column in zip(labels, flat.T, strict=True):
                columns[f"{name}_{label}"] = column.tolist()
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
