"""The formats that predictions are written in."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.spec import Spec

WRITES = (".npz", ".npy", ".csv", ".jsonl")


def check_output(path: Path) -> None:
    """Refuses a format that can't be written, before anything is computed."""
    if path.suffix.lower() not in WRITES:
        raise DataError(
            path, f"can't write {path.suffix or 'a file without a suffix'}", hint=f"it writes {' '.join(WRITES)}"
        )
    if not path.absolute().parent.is_dir():
        raise DataError(path, f"there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise DataError(path, "is a folder")


def write(path: Path, found: dict[str, np.ndarray], spec: Spec) -> dict[str, np.ndarray]:
    """Writes predictions by the file's suffix: arrays as they are, or one row an example; returns what it wrote.

    An .npy holds the first array alone; an .npz also the names of the `classes`, since its labels are numbers.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        classes = {"classes": np.array(spec.classes, str)} if spec.classes and "label" in found else {}
        found = {**found, **classes}
        np.savez(path, **found)  # type: ignore[arg-type]
    elif suffix == ".npy":
        found = dict([next(iter(found.items()))])
        np.save(path, *found.values())
    elif suffix == ".jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for row in range(len(next(iter(found.values())))):
                file.write(json.dumps({name: _plain(name, values[row], spec) for name, values in found.items()}) + "\n")
    else:
        _write_csv(path, found, spec)
    return found


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
