"""Random tokens of any vocabulary and length: to plan and to time language models on text that isn't there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bigtrain.config.values import NonNegativeInt, PositiveInt
from bigtrain.data.arrays import dataset
from bigtrain.data.spec import Dataset, Field, Source, Split, Vocabulary

HELD_OUT = 100  # a hundredth of the examples for validation, and for testing, but no more than
MOST_HELD_OUT = 1000
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of splitmix64, Steele et al. 2014
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class RandomWindows:
    """Windows that are made when they are read, each from its index alone; nothing is kept.

    Args:
        first: the index of the first window.
        number: how many there are.
        length: tokens in a window.
        vocabulary: how many different tokens.
        seed: chooses among sets.
        dtype: of the tokens.
    """

    first: int
    number: int
    length: int
    vocabulary: int
    seed: int
    dtype: str

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = (np.asarray(indices, np.uint64) + np.uint64(self.first))[:, None]
        places = rows * np.uint64(self.length + 1) + np.arange(self.length + 1, dtype=np.uint64)
        tokens = (_mixed(places, self.seed) % np.uint64(self.vocabulary)).astype(self.dtype)
        return {"inputs": np.ascontiguousarray(tokens[:, :-1]), "targets": np.ascontiguousarray(tokens[:, 1:])}


def random_tokens(
    *,
    vocabulary: PositiveInt = 32_000,
    length: PositiveInt = 1024,
    examples: PositiveInt = 10_000_000,
    generator_seed: NonNegativeInt = 0,
) -> Dataset:
    """Random tokens, generated: for `bigtrain plan`, and to time a language model at its real size.

    There is nothing to learn but that all tokens are equally likely: the loss is the logarithm of the vocabulary.

    Args:
        vocabulary: how many different tokens.
        length: tokens in a window.
        examples: windows to train on, made as they are streamed; a set that fits on the device is kept there. A
            hundredth as many, at most 1,000, are for validation, and for testing.
        generator_seed: chooses the tokens, independently of the run's seed.

    Returns:
        `inputs` and `targets`, tokens [length]; the targets are one token ahead.
    """
    dtype = "uint8" if vocabulary <= 1 << 8 else "uint16" if vocabulary <= 1 << 16 else "int32"
    held = min(max(1, examples // HELD_OUT), MOST_HELD_OUT)
    sizes: dict[Split, int] = {"train": examples, "validation": held, "test": held}
    sources: dict[Split, Source] = {}
    first = 0
    for split, number in sizes.items():
        sources[split] = RandomWindows(first, number, length, vocabulary, generator_seed, dtype)
        first += number
    field = Field((length,), dtype, "tokens")
    symbols = Vocabulary(tuple(map(str, range(vocabulary))), separator=" ")
    notes = {"text": f"random: {vocabulary:,} tokens, all equally likely"}
    return dataset("random_tokens", {"inputs": field, "targets": field}, sources, vocabulary=symbols, notes=notes)


def _mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """splitmix64: 64 bits of each value that look random."""
    mixed = (values + np.uint64(seed % (1 << 64))) * np.uint64(_GOLDEN)
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(multiplier)
    return mixed ^ (mixed >> np.uint64(31))
