"""Examples that are in more than one split: exact copies by a hash of what is stored, near copies by measured distance.

A test score counts what the model can do with what it hasn't seen; an example that is also in training is a leak.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from bigtrain.data.describe import evenly, pieces
from bigtrain.data.nearby import Shingles, Sketch
from bigtrain.data.spec import Dataset, Source, Spec

HASHED = 1_000_000  # examples of a split that are hashed, at most
HASHED_BYTES = 4 << 30  # and bytes of them
COMPARED = {"train": 100_000, "validation": 10_000, "test": 10_000}  # of each split, in the search for near copies
LEAST_VALUES = 16  # in fewer dimensions examples are close to each other by nature
SHOWN = 5
HELD = ("validation", "test")
READ = ("inputs", "lengths", "segments", "categories")  # what goes into a model


def leakage(dataset: Dataset) -> dict[str, Any]:
    """How many examples of the held-out splits are in training too, exactly and nearly, and how that was found."""
    keys, answers, checked = {}, {}, {}
    for split, source in dataset.splits.items():
        most = max(1, min(HASHED, HASHED_BYTES // max(1, dataset.spec.example_bytes)))
        checked[split] = evenly(len(source), most)
        keys[split], answers[split] = _hashes(dataset.spec, source, checked[split])
    labelled = dataset.spec.targets is not None and dataset.spec.targets.kind in ("label", "real")
    exact: dict[str, Any] = {
        "train": _within(keys["train"], answers["train"], labelled=labelled),
        "sampled": [split for split, source in dataset.splits.items() if len(checked[split]) < len(source)],
        "checked": {split: len(rows) for split, rows in checked.items()},
    }
    for split in HELD:
        if split in keys:
            exact[split] = _between(keys, answers, checked, split, labelled=labelled)
    return {"exact": exact, "near": _near(dataset, keys, checked)}


def _hashes(spec: Spec, source: Source, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A 64-bit hash of what goes into the model, and one of the target, for each example."""
    inputs, targets = np.empty(len(indices), np.uint64), np.zeros(len(indices), np.uint64)
    names = [name for name in READ if name in spec.fields]
    at = 0
    for part, batch in pieces(source, spec, indices):
        batch = {**batch, "inputs": without_padding(batch)}
        for row in range(len(part)):
            inputs[at + row] = _hash([batch[name][row] for name in names])
            if "targets" in batch:
                targets[at + row] = _hash([batch["targets"][row]])
        at += len(part)
    return inputs, targets


def without_padding(batch: dict[str, np.ndarray]) -> np.ndarray:
    """The inputs with zeros beyond each sequence's length."""
    inputs = batch["inputs"]
    if "lengths" not in batch or inputs.ndim < 2:
        return inputs
    exists = np.arange(inputs.shape[1]) < batch["lengths"][:, None]
    return np.where(exists.reshape(*exists.shape, *(1,) * (inputs.ndim - 2)), inputs, np.zeros((), inputs.dtype))


def _hash(values: list[np.ndarray]) -> np.uint64:
    digest = hashlib.blake2b(digest_size=8)
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    return np.uint64(int.from_bytes(digest.digest(), "little"))


def _within(keys: np.ndarray, answers: np.ndarray, *, labelled: bool) -> dict[str, int]:
    """Copies inside one split: how many examples another one before them equals, and how many groups disagree."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    disagree = same & (answers[order][1:] != answers[order][:-1])
    return {"copies": int(same.sum()), "conflicting": int(disagree.sum()) if labelled else 0}


def _between(
    keys: dict[str, np.ndarray],
    answers: dict[str, np.ndarray],
    checked: dict[str, np.ndarray],
    split: str,
    *,
    labelled: bool,
) -> dict[str, Any]:
    """The examples of a held-out split that are in training too."""
    order = np.argsort(keys["train"], kind="stable")
    ranked = keys["train"][order]
    place = np.minimum(np.searchsorted(ranked, keys[split]), len(ranked) - 1)
    found = np.flatnonzero(ranked[place] == keys[split])
    twins = order[place[found]]
    known = set(zip(keys["train"].tolist(), answers["train"].tolist(), strict=True)) if labelled and len(found) else ()
    conflicting = sum(
        (key, answer) not in known
        for key, answer in zip(keys[split][found].tolist(), answers[split][found].tolist(), strict=True)
    )
    return {
        "number": len(found),
        "conflicting": conflicting if labelled else 0,
        "pairs": np.stack([checked[split][found], checked["train"][twins]], 1)[:SHOWN].tolist(),
    }


def _near(dataset: Dataset, keys: dict[str, np.ndarray], checked: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Near copies between splits, without the exact ones; None for inputs that aren't looked at."""
    spec = dataset.spec
    if spec.inputs.kind == "features" and np.prod(spec.inputs.shape) >= LEAST_VALUES:
        method: Sketch | Shingles = Sketch(spec)
    elif spec.inputs.kind == "tokens" and spec.inputs.shape and spec.inputs.shape[0] >= LEAST_VALUES:
        method = Shingles(spec)
    else:
        return None
    chosen = {split: rows[evenly(len(rows), COMPARED[split])] for split, rows in checked.items() if split in COMPARED}
    train = dataset.splits["train"]
    method.learn(train, chosen["train"])
    found: dict[str, Any] = {"method": method.text, "sampled": [], "compared": {}}
    known = set(keys["train"].tolist())
    for split, rows in chosen.items():
        found["compared"][split] = len(rows)
        if len(rows) < len(dataset.splits[split]):
            found["sampled"].append(split)
        if split == "train":
            continue
        exact = {int(row) for row, key in zip(checked[split], keys[split].tolist(), strict=True) if key in known}
        pairs = [pair for pair in method.matches(dataset.splits[split], rows) if pair[0] not in exact]
        found[split] = {"number": len({pair[0] for pair in pairs}), "pairs": pairs[:SHOWN]}
    return found
