"""Pairs of sequences that are shorter, or have fewer references, in the shapes that a model was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Dataset, Source, Spec


@dataclass(frozen=True)
class Lengthened:
    """A source of which the arrays in `shapes` are filled up to these shapes.

    Sequences are filled with the token in `fills`. Missing references are copies of the first: of the target.
    """

    source: Source
    shapes: Mapping[str, tuple[int, ...]]
    fills: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(self.source[indices])
        if "references" in self.shapes and "references" not in found:
            found["references"] = found["targets"][:, None]
        return {name: self._filled(name, values) if name in self.shapes else values for name, values in found.items()}

    def _filled(self, name: str, values: np.ndarray) -> np.ndarray:
        *lead, steps = self.shapes[name]
        wider = np.pad(
            values, [(0, 0)] * (values.ndim - 1) + [(0, steps - values.shape[-1])], constant_values=self.fills[name]
        )
        if not lead:
            return wider
        return np.concatenate([wider, np.repeat(wider[:, :1], lead[0] - wider.shape[1], axis=1)], axis=1)


def lengthened(spec: Spec, dataset: Dataset) -> Dataset:
    """The data set with sequences as long as those that a model was trained on, and as many references.

    Raises:
        ConfigError: for data that has longer sequences than those, or more references.
    """
    given = dataset.spec
    names = [name for name in ("inputs", "targets", "references") if name in spec.fields]
    for name in ("inputs", "targets", "references"):
        if name not in given.fields:
            continue
        shape = given.fields[name].shape
        known = spec.fields[name].shape if name in spec.fields else (1, *spec.fields["targets"].shape)
        if len(shape) != len(known) or any(here > most for here, most in zip(shape, known, strict=True)):
            what = "references and tokens" if len(shape) > 1 else "tokens"
            problem = f"{name}: the model was trained on at most {list(known)} {what}; here are {list(shape)}"
            raise ConfigError("data", problem, hint="data.max_length=… leaves longer pairs out")
    if given.vocabulary is None or given.target_vocabulary is None or "targets" not in given.fields:
        return dataset
    end = given.target_vocabulary.end or 0
    shapes = {name: spec.fields[name].shape for name in names}
    fills = {"inputs": 0, "targets": end, "references": end}
    fields = {
        name: dataclasses.replace(given.fields.get(name, given.fields["targets"]), shape=shapes[name]) for name in names
    }
    here = dataclasses.replace(given, fields={**given.fields, **fields})
    return Dataset(here, {split: Lengthened(one, shapes, fills) for split, one in dataset.splits.items()})
