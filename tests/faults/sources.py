"""Data with a fault at a known place, and runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support

from bigtrain.checkpoint import Checkpoints
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Dataset, Field
from bigtrain.run.directory import RunDirectory
from bigtrain.train.prepare import Prepared

TRAIN, CLASSES, BATCH = 80, 3, 8
SHORT = (
    "steps=40", f"batch_size={BATCH}", "log_every=4", "eval_every=20", "checkpoint.every=10", "checkpoint.keep=99",
    "model.widths=[8]", "logger=jsonl",
)  # fmt: skip
BAD = 17  # the step whose batch has the broken example for the second time; 10 steps are an epoch


def broken(index: int | None, value: float = float("nan"), split: str = "train") -> Dataset:
    """Vectors of three classes; the first number of one example is a value that no reader of files lets through."""
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(TRAIN + 16, 4)).astype(np.float32), np.arange(TRAIN + 16) % CLASSES
    inputs += targets[:, None]
    if index is not None:
        inputs[index + (TRAIN if split == "validation" else 0), 0] = value
    columns = {"inputs": inputs, "targets": targets.astype(np.int32)}
    fields = {"inputs": Field((4,), "float32", "features"), "targets": Field((), "int32", "label")}
    splits = {"train": slice(0, TRAIN), "validation": slice(TRAIN, None)}
    sources = {name: Arrays({key: column[part] for key, column in columns.items()}) for name, part in splits.items()}
    return dataset("broken", fields, sources, classes=("a", "b", "c"))


def example(step: int = BAD, row: int = 3) -> int:
    """The example in a row of the batch of a step, counted from 1."""
    return int(Order(TRAIN, BATCH, 0).batches(step - 1, 1)[0, row])


def steps_with(index: int, steps: int = 40) -> list[int]:
    """The steps whose batch has an example, counted from 1."""
    batches = Order(TRAIN, BATCH, 0).batches(0, steps)
    return [step + 1 for step in range(steps) if index in batches[step]]


def fitted(patch: pytest.MonkeyPatch, data: Dataset, run_dir: Path, *overrides: str) -> tuple[Prepared, dict[str, Any]]:
    """`bigtrain fit` in this process on these data, instead of those that the config names; also the program."""
    with patch.context() as instead:
        instead.setattr(support, "load_data", lambda checked, trusted: data)
        return support.fitted(run_dir, *SHORT, *overrides)


def trained(patch: pytest.MonkeyPatch, data: Dataset, run_dir: Path, *overrides: str) -> dict[str, Any]:
    """The result of the same."""
    return fitted(patch, data, run_dir, *overrides)[1]


def states_at(ready: Prepared, run_dir: Path, *steps: int) -> list[dict[str, Any]]:
    """The states of checkpoints, by field."""
    checkpoints = Checkpoints(run_dir / "checkpoints", ready.run.checkpoint)
    try:
        return [checkpoints.restore(step, ready.program.abstract.as_dict()) for step in steps]
    finally:
        checkpoints.close()


def saved(run_dir: Path) -> list[int]:
    """The steps of its checkpoints."""
    return RunDirectory(run_dir).saved()
