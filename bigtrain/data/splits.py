"""How a set is cut into training, validation and test examples: always the same way, whatever the seed of the run."""

from __future__ import annotations

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.data.sampler import permuted
from bigtrain.data.spec import Split

SPLIT_SEED = 0x5117  # fixed, so that two seeds of an experiment are judged on the same examples
CHUNK = 1 << 20  # indices permuted at once: the working memory stays under 100 MB however large the set


def share(value: float, total: int, path: str) -> int:
    """The number of examples that a share means: a fraction of `total` below 1, a number from 1 on.

    A fraction above 0 gives at least one example.

    Raises:
        ConfigError: for a negative share, a number that isn't whole, or one above `total`; it names `path`.
    """
    if value < 0:
        raise ConfigError(path, f"{value:g} is negative", allowed="a fraction below 1, or a number of examples")
    if value < 1:
        return max(1, round(value * total)) if value else 0
    if value != int(value):
        raise ConfigError(
            path, f"{value:g} is not a whole number", allowed="a fraction below 1, or a number of examples"
        )
    if value > total:
        raise ConfigError(path, f"{int(value)} examples asked of a set of {total}", hint=f"try {path}=0.1")
    return int(value)


def split_sizes(total: int, validation: float, test: float, where: str = "data") -> dict[Split, int]:
    """How many of `total` examples each split gets; training gets the rest, at least one.

    Args:
        total: examples to share out.
        validation: the share held out for validation.
        test: the share held out for testing.
        where: the config path that holds the two keys.
    """
    sizes: dict[Split, int] = {
        "validation": share(validation, total, f"{where}.validation"),
        "test": share(test, total, f"{where}.test"),
    }
    train = total - sizes["validation"] - sizes["test"]
    if train < 1:
        key = f"{where}.{'test' if sizes['test'] > sizes['validation'] else 'validation'}"
        problem = f"{sizes['validation']} for validation and {sizes['test']} for testing leave none of {total} examples"
        raise ConfigError(key, f"{problem} to train on", hint=f"lower it, or hold nothing out: {key}=0")
    return {"train": train, **sizes}


def random_split(total: int, validation: float, test: float = 0.0, where: str = "data") -> dict[Split, np.ndarray]:
    """Sorted example indices of each split, drawn without replacement: together they are `range(total)`."""
    sizes = split_sizes(total, validation, test, where)
    order = np.empty(total, np.int32 if total <= 1 << 31 else np.int64)
    for at in range(0, total, CHUNK):
        order[at : at + CHUNK] = permuted(np.arange(at, min(at + CHUNK, total)), total, SPLIT_SEED)
    ends = np.cumsum([sizes["test"], sizes["validation"]])
    held, validated, trained = np.split(order, ends)
    return {"train": np.sort(trained), "validation": np.sort(validated), "test": np.sort(held)}


def stratified_split(labels: np.ndarray, validation: float, test: float) -> dict[Split, np.ndarray]:
    """The same, where every class is cut in the same proportion.

    Args:
        labels: int [N], the class of each example.
        validation: the fraction of each class held out for validation.
        test: the fraction of each class held out for testing.
    """
    parts: dict[Split, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = members[permuted(np.arange(len(members)), len(members), SPLIT_SEED, int(label))]
        ends = np.cumsum([round(test * len(members)), round(validation * len(members))])
        for split, part in zip(("test", "validation", "train"), np.split(order, ends), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(found)) for split, found in parts.items()}


def contiguous_split(total: int, validation: float, test: float, where: str = "data") -> dict[Split, range]:
    """One range a split, in the order training, validation, test: for text and other sequences.

    Neighbouring examples of a sequence are nearly copies, so a random split would test on what was trained on.
    """
    sizes = split_sizes(total, validation, test, where)
    first, second = sizes["train"], sizes["train"] + sizes["validation"]
    return {"train": range(first), "validation": range(first, second), "test": range(second, total)}
