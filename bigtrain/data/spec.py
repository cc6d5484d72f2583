"""What a data set holds: the shapes, types and meaning of one example, and the sources of its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from bigtrain.data.vocabulary import Vocabulary as Vocabulary

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Field:
    """One named array of an example, without the batch dimension.

    `kind` tells what the numbers mean: `features` are real values (multiplied by `scale` inside the compiled program,
    so bytes stay bytes in memory), `tokens` are indices into the vocabulary, `label` is an index into the classes,
    `real` is a regression target (multiplied by `scale`, with `shift` added, it is in its units), `length` counts the
    valid steps of `inputs` along its first dimension, `segments` numbers the sequences packed into one row (the state
    of a recurrent model restarts where it changes), and `categories` are columns of indices, column `k` of them into a
    table of `sizes[k]` rows, of which row 0 stands for what training didn't see.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: Literal["features", "tokens", "label", "real", "length", "segments", "categories"]
    scale: float = 1.0
    low: float | None = None  # least and greatest value after scaling, where the source knows them
    high: float | None = None
    sizes: tuple[int, ...] = ()  # of `categories`: how many values each column can take
    shift: float = 0.0  # of `real`: what is added after scaling

    @property
    def nbytes(self) -> int:
        """Bytes of one example's value."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Reader:
    """How a file that a user brings to a trained model becomes inputs like those of the data set.

    `kind` chooses the reader, `settings` are what it needs to know: plain values of JSON, kept with the model.
    """

    kind: Literal["table", "image", "text", "audio", "series"]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Spec:
    """What a model and a task need to know of a data set before the first array exists.

    `fields` always has `inputs`; `targets` where the set is labelled; `lengths` where sequences are padded, with
    `target_lengths` where the targets are sequences of their own; `segments` where several share a row; `categories`
    where real inputs come with categorical ones. `sizes` counts the examples of each split. Targets that are tokens are
    of `target_vocabulary`, if there is one, else of `vocabulary`.
    """

    name: str
    fields: Mapping[str, Field]
    sizes: Mapping[Split, int]
    classes: tuple[str, ...] | None = None
    vocabulary: Vocabulary | None = None
    target_vocabulary: Vocabulary | None = None
    reader: Reader | None = None
    notes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # facts for the start summary

    @property
    def inputs(self) -> Field:
        """The field that goes into the model."""
        return self.fields["inputs"]

    @property
    def targets(self) -> Field | None:
        """The field the model is trained to give, if the set has one."""
        return self.fields.get("targets")

    @property
    def example_bytes(self) -> int:
        """Bytes of one example as stored."""
        return sum(entry.nbytes for entry in self.fields.values())


@runtime_checkable
class Source(Protocol):
    """Random access to the examples of one split."""

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The examples at `indices` (int64 [B]): each field stacked to [B, *shape] in its stored dtype."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A data set as built: its spec and one source a split. A split of size 0 is absent from `splits`."""

    spec: Spec
    splits: Mapping[Split, Source]
