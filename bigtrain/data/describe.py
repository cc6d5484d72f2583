"""What a data set holds, as plain facts: fields, sizes, classes, lengths, values, examples. Reads it in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bigtrain.data.arrays import Arrays
from bigtrain.data.spec import Dataset, Field, Source, Spec

CHUNK_BYTES = 16 << 20  # of examples read at once
LOOKED_AT = 20_000  # examples of a split whose values are measured
LABELS_READ = 1_000_000  # examples of a split whose labels are counted, where that means reading the whole example
EXAMPLES = 4
SHOWN_VALUES = 6  # numbers of an example
SHOWN_TOKENS = 400
EVEN = 3.0  # a class this many times as large as another is worth a note


def evenly(total: int, most: int) -> np.ndarray:
    """Up to `most` indices spread evenly over `range(total)`."""
    return np.arange(total) if total <= most else np.linspace(0, total - 1, most).astype(np.int64)


def pieces(source: Source, spec: Spec, indices: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The examples at `indices` with their indices, about 16 MB at once."""
    step = max(1, CHUNK_BYTES // max(1, spec.example_bytes))
    for at in range(0, len(indices), step):
        part = indices[at : at + step]
        yield part, source[part]


def describe(dataset: Dataset) -> dict[str, Any]:
    """The facts of a data set, as plain values of JSON."""
    spec = dataset.spec
    facts: dict[str, Any] = {
        "name": spec.name,
        "fields": {name: _field(entry) for name, entry in spec.fields.items()},
        "splits": {split: len(source) for split, source in dataset.splits.items()},
        "notes": dict(spec.notes),
    }
    if spec.vocabulary is not None:
        facts["vocabulary"] = len(spec.vocabulary)
    facts["measured"] = {split: _measured(spec, source) for split, source in dataset.splits.items()}
    if spec.targets is not None and spec.targets.kind == "label" and spec.classes:
        facts["classes"] = _balance(dataset)
    facts["examples"] = _examples(dataset)
    facts["warnings"] = _warnings(facts)
    return facts


def _field(entry: Field) -> dict[str, Any]:
    return {
        "shape": list(entry.shape), "dtype": entry.dtype, "kind": entry.kind, "scale": entry.scale,
        "low": entry.low, "high": entry.high, "sizes": list(entry.sizes), "bytes": entry.nbytes,
    }  # fmt: skip


def _measured(spec: Spec, source: Source) -> dict[str, Any]:
    """Statistics of a split's values, over at most `LOOKED_AT` of its examples."""
    chosen = evenly(len(source), LOOKED_AT)
    gathered: dict[str, Any] = {"examples": len(chosen)}
    numbers = {name: _Moments(entry) for name, entry in spec.fields.items() if entry.kind in ("features", "real")}
    lengths: dict[str, list[np.ndarray]] = {}
    used = np.zeros(len(spec.vocabulary or ()), np.int64)
    for _, batch in pieces(source, spec, chosen):
        for name, moments in numbers.items():
            if name not in batch:
                continue
            steps = batch.get("lengths") if name == "inputs" else None
            moments.add(batch[name], steps)
        for name, entry in spec.fields.items():
            if entry.kind == "length" and name in batch:
                lengths.setdefault(name, []).append(batch[name])
        if spec.inputs.kind == "tokens" and len(used):
            used += np.bincount(_valid(batch["inputs"], batch.get("lengths")).ravel(), minlength=len(used))
    gathered |= {name: moments.facts() for name, moments in numbers.items()}
    for name, found in lengths.items():
        values = np.concatenate(found)
        gathered[name] = {"least": int(values.min()), "median": float(np.median(values)), "most": int(values.max())}
    if used.any():
        gathered["tokens"] = _token_facts(spec, used)
    return gathered


def _valid(values: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """The values within each sequence's length, in one row."""
    if lengths is None:
        return values
    return values[np.arange(values.shape[1]) < lengths[:, None]]


def _token_facts(spec: Spec, used: np.ndarray) -> dict[str, Any]:
    symbols = spec.vocabulary.symbols if spec.vocabulary else ()
    common = [symbols[token] for token in np.argsort(-used, kind="stable")[:8] if used[token]]
    return {"used": int((used > 0).sum()), "most_common": common}


class _Moments:
    """Mean, deviation and range of a real field, with its values that are missing and its places that never change."""

    def __init__(self, entry: Field) -> None:
        self.entry = entry
        self.count = self.missing = 0
        self.total = self.squares = 0.0
        self.low, self.high = np.inf, -np.inf
        self.least: np.ndarray | None = None
        self.most: np.ndarray | None = None

    def add(self, stored: np.ndarray, lengths: np.ndarray | None) -> None:
        """The values of some examples [B, *shape], without what is beyond a length."""
        values = stored.astype(np.float64) * self.entry.scale + self.entry.shift
        if lengths is not None and values.ndim > 1:
            beyond = np.arange(values.shape[1]) >= lengths[:, None]
            values[beyond] = np.nan
            self.missing -= int(beyond.sum() * np.prod(values.shape[2:], dtype=np.int64))
        real = values[~np.isnan(values)]
        self.missing += values.size - real.size
        if not real.size:
            return
        self.count, self.total = self.count + real.size, self.total + float(real.sum())
        self.squares += float(np.square(real).sum())
        self.low, self.high = min(self.low, float(real.min())), max(self.high, float(real.max()))
        if lengths is not None:  # places are the channels of a sequence: late steps exist in few examples
            values = values.reshape(-1, *values.shape[2:])
        least, most = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        self.least = least if self.least is None else np.fmin(self.least, least)
        self.most = most if self.most is None else np.fmax(self.most, most)

    def facts(self) -> dict[str, Any]:
        """What was found."""
        if self.least is None or self.most is None:
            return {"missing": self.missing}
        mean = self.total / self.count
        places, still = self.least.size, np.flatnonzero(np.ravel(self.least == self.most))
        return {
            "low": self.low,
            "high": self.high,
            "mean": mean,
            "deviation": max(0.0, self.squares / self.count - mean**2) ** 0.5,
            "missing": self.missing,
            "constant": {"number": len(still), "of": places, "first": still[:8].tolist()} if places > 1 else None,
        }


def _balance(dataset: Dataset) -> dict[str, Any]:
    """How many examples (or steps) of each class every split has."""
    spec = dataset.spec
    classes = spec.classes or ()
    counts = {}
    for split, source in dataset.splits.items():
        found = np.zeros(len(classes), np.int64)
        for labels in _labels(spec, source):
            found += np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)]
        counts[split] = found.tolist()
    return {"names": list(classes), "counts": counts}


def _labels(spec: Spec, source: Source) -> Iterator[np.ndarray]:
    """The labels of a split within their lengths; from their column alone where the source has one."""
    if isinstance(source, Arrays) and "lengths" not in spec.fields:
        rows = np.arange(len(source)) if source.indices is None else source.indices
        yield source.columns["targets"][rows]
        return
    for _, batch in pieces(source, spec, evenly(len(source), LABELS_READ)):
        labels = batch["targets"]
        yield _valid(labels, batch.get("lengths")) if labels.ndim > 1 else labels


def _examples(dataset: Dataset) -> list[dict[str, str]]:
    """The first training examples, each field as a short text."""
    source = dataset.splits["train"]
    batch = source[np.arange(min(EXAMPLES, len(source)))]
    return [
        {name: _shown(dataset.spec, name, batch, row) for name in dataset.spec.fields if name in batch}
        for row in range(len(batch["inputs"]))
    ]


def _shown(spec: Spec, name: str, batch: dict[str, np.ndarray], row: int) -> str:
    entry, value = spec.fields[name], batch[name][row]
    if entry.kind == "tokens" and spec.vocabulary is not None:
        counted = batch.get("target_lengths" if name == "targets" else "lengths")
        tokens = value.ravel()[: int(counted[row]) if counted is not None else None][:SHOWN_TOKENS]
        symbols = spec.target_vocabulary if name == "targets" and spec.target_vocabulary else spec.vocabulary
        return symbols.decode(tokens.tolist()) if symbols is not None else ""
    if entry.kind == "label" and spec.classes and not value.ndim:
        return spec.classes[int(value)]
    flat = value.ravel()[:SHOWN_VALUES]
    scaled = flat * entry.scale + entry.shift if entry.kind in ("features", "real") else flat
    more = " …" if value.size > SHOWN_VALUES else ""
    return " ".join(f"{number:.4g}" for number in scaled.tolist()) + more


def _warnings(facts: dict[str, Any]) -> list[str]:
    """What a person should know before training on it."""
    found = []
    train = facts["measured"]["train"]
    for name, entry in train.items():
        if not isinstance(entry, dict):
            continue
        if entry.get("missing"):
            found.append(f"{name} has {entry['missing']:,} missing values (NaN) in training")
        still = entry.get("constant")
        if still and still["number"]:
            places = ", ".join(map(str, still["first"])) + (" …" if still["number"] > len(still["first"]) else "")
            found.append(f"{still['number']} of the {still['of']} values of {name} never change (at {places})")
    if "classes" in facts:
        found += _unbalanced(facts["classes"])
    for split in ("validation", "test"):
        if split not in facts["splits"]:
            found.append(f"there is no {split} split")
    return found


def _unbalanced(classes: dict[str, Any]) -> list[str]:
    counts = np.array(classes["counts"]["train"])
    if not counts.sum():
        return []
    names = classes["names"]
    missing = [names[at] for at in np.flatnonzero(counts == 0)]
    found = [f"no training example of: {', '.join(missing[:8])}"] if missing else []
    most, least = int(counts.argmax()), int(np.where(counts, counts, counts.max()).argmin())
    if counts[most] >= EVEN * counts[least]:
        ratio = counts[most] / counts[least]
        guess = counts[most] / counts.sum()
        found.append(
            f"unbalanced: class {names[most]} has {ratio:.1f} times the training examples of {names[least]}; "
            f"always answering {names[most]} is right for {guess:.1%}"
        )
    return found
