"""Data sets of the Hugging Face `datasets` library that were saved to the local disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data.arrays import dataset
from bigtrain.data.folders import WORDS
from bigtrain.data.held_out import settled
from bigtrain.data.huggingface_columns import Columns, Read, images, numbers, targets_of, texts
from bigtrain.data.huggingface_files import check_saved
from bigtrain.data.pictures import Fit
from bigtrain.data.spec import SPLITS, Dataset, Source, Split

SAVE = "save it first: datasets.load_dataset(NAME).save_to_disk(FOLDER)"


def huggingface(
    *,
    path: str | None = None,
    inputs: str | tuple[str, ...] | None = None,
    text_column: str | None = None,
    targets: str | None = None,
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None,
    fit: Fit = "crop",
    channels: Literal["auto", 1, 3] = "auto",
    level: Literal["words", "characters", "bytes"] = "words",
    vocabulary: PositiveInt = 20_000,
    lowercase: bool = True,
    length: PositiveInt = 256,
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """A Hugging Face data set from the local disk (save_to_disk): images, texts or numbers, with labels.

    Only Arrow files are read: no code of the data set is run, and nothing is fetched. Sets that don't fit in 512 MB are
    read from disk as they are needed.

    Args:
        path: the folder that save_to_disk wrote; its splits train, validation (valid, dev) and test are used as such.
        inputs: the column that goes into the model: images, or numbers; several columns of single numbers are put side
            by side. By default the only column of images, else all numbers but the targets.
        text_column: a column of texts as the inputs, each with a class.
        targets: the column to predict: a ClassLabel, texts or integers as classes, floats as numbers. By default the
            one called label, labels, target or class. none trains without.
        size: of images: the side of the square each is made into, or [height, width]; not needed if all are alike.
        fit: how an image of another shape gets there: crop its middle, stretch it, or pad it with black.
        channels: of images: 1 for grey, 3 for colour; auto is 1 if none of the first 1,000 has colour.
        level: of texts: what a token is.
        vocabulary: of texts: the most words or characters to know; all others are <unknown>.
        lowercase: of texts: whether case is ignored.
        length: of texts: the most tokens; what follows them is cut off.
        validation: the share of the training examples held out for validation, where there is no such split.
        test: the share of the training examples held out for testing, where there is no such split.

    Returns:
        `inputs`, `targets` where there are any, and `lengths` for texts.
    """
    if path is None:
        hint = f"{SAVE}, then data.path=FOLDER"
        raise ConfigError("data.path", "no folder is given", hint=hint)
    where = Path(path).expanduser()
    loaded = _loaded(where)
    features = Columns(where, loaded["train"].features)
    target = features.target(targets)
    pictures, words = (size, fit, channels), (level, vocabulary, lowercase, length)
    found = _inputs(features, loaded, inputs, text_column, target, pictures, words)
    return _dataset(where, loaded, found, target, validation, test)


def _dataset(
    where: Path, loaded: Mapping[Split, Any], found: Read, target: str | None, validation: float, test: float
) -> Dataset:
    """The set of these inputs and the column to predict."""
    fields, makers, classes = dict(found.fields), [found.make], None
    if target is not None:
        fields["targets"], make, classes = targets_of(where, target, loaded)
        makers.append(make)
    used = [*found.columns, *([target] if target else [])]
    given: dict[Split, Source] = {
        split: Rows(found.prepared(table.select_columns(used)), tuple(makers)) for split, table in loaded.items()
    }
    splits, note = settled(given, fields, validation, test)
    unused = [name for name in loaded["train"].column_names if name not in used]
    notes = {"path": str(where), "columns": ", ".join(used), **found.notes, "read": note}
    notes |= {"unused": ", ".join(unused)} if unused else {}
    about = {"classes": classes, "vocabulary": found.vocabulary, "reader": found.reader, "notes": notes}
    return dataset(where.resolve().name, fields, splits, **about)


@dataclass(frozen=True)
class Rows:
    """Rows of an Arrow table as batches."""

    table: Any  # datasets.Dataset
    makers: tuple[Callable[[Mapping[str, list[Any]], np.ndarray], dict[str, np.ndarray]], ...]

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = self.table[[int(at) for at in indices]]
        made: dict[str, np.ndarray] = {}
        for make in self.makers:
            made |= make(rows, indices)
        return made


def _inputs(
    features: Columns, loaded: Mapping[Split, Any], inputs: str | Sequence[str] | None, text_column: str | None,
    target: str | None, picture: tuple[Any, Fit, Any], text: tuple[str, int, bool, int],
) -> Read:  # fmt: skip
    """How the inputs are read from which columns."""
    if text_column is not None:
        if inputs is not None:
            raise ConfigError("data.text_column", "the inputs are given by data.inputs too", hint="drop one of them")
        features.check("data.text_column", text_column, ("text",))
        return texts(features.where, text_column, loaded, *text)
    chosen = features.inputs(inputs, target)
    if features.kind(chosen[0]) == "image":
        return images(features.where, chosen[0], loaded, *picture)
    return numbers(features, chosen)


def _loaded(where: Path) -> dict[Split, Any]:
    """The splits of the folder, as Arrow tables that are mapped from disk."""
    try:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the library asks a server for nothing
        import datasets
    except ModuleNotFoundError as error:
        raise DataError(where, "needs the package 'datasets'", hint="pip install 'bigtrain[hf]'") from error
    if not where.is_dir():
        problem = "is a file, not a folder" if where.exists() else "no such folder"
        raise DataError(where, problem, hint=SAVE)
    if not any((where / name).is_file() for name in ("dataset_dict.json", "state.json")):
        raise DataError(where, "holds no data set that save_to_disk wrote", hint=SAVE)
    check_saved(where)
    try:
        found = datasets.load_from_disk(str(where))
    except Exception as error:  # the library, Arrow and JSON each raise their own
        raise DataError(where, f"can't be read: {' '.join(str(error).split())[:150]}", hint="copy it again") from error
    named = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
    splits: dict[Split, Any] = {}
    for name, table in named.items():
        split = WORDS.get(name.lower())
        if split is None or split in splits:
            problem = f"has a split {name!r}" + (" twice" if split else "")
            hint = "known are train, validation, valid, val, dev and test; rename or drop it, and save it again"
            raise DataError(where, problem, hint=hint)
        if len(table):
            splits[split] = table
    if "train" not in splits:
        raise DataError(where, f"has no training split; it has {', '.join(named) or 'none'}")
    return {split: splits[split] for split in SPLITS if split in splits}
