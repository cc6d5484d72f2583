"""Time series of several channels and different lengths, to be classified or regressed on as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.checks import check_memory
from bigtrain.data.series_files import Ragged, read_series
from bigtrain.data.series_reader import Scaling, filled, padded
from bigtrain.data.spec import Dataset, Field, Reader, Split
from bigtrain.data.splits import random_split, stratified_split
from bigtrain.data.ts_format import pair_of


def sequences(
    *,
    path: str | None = None,
    length: PositiveInt | None = None,
    standardize: bool = True,
    target_kind: Literal["auto", "label", "real"] = "auto",
    validation: Share = 0.1,
    test: Share = 0.2,
) -> Dataset:
    """Time series with a label or a value each: a .ts file (aeon, sktime), or arrays with lengths in an .npz.

    Of `X_TRAIN.ts` and `X_TEST.ts` either may be named, or their folder. An .npz holds x [N, T, C] or [N, T], y, and
    lengths where they differ; or the steps of all examples below each other: values [sum of lengths, C], and lengths.
    Missing values are interpolated between their neighbours.

    Args:
        path: the file, or a folder with a pair of .ts files.
        length: steps that are kept of each example, from its beginning; all by default.
        standardize: give each channel mean 0 and deviation 1 over the steps of the training examples.
        target_kind: what the targets are. `auto`: integers and texts are classes, all else is real.
        validation: the share of the training examples held out for validation.
        test: the share held out for testing, where the files have no test split.

    Returns:
        `inputs` float32 [T, C], `targets`, and `lengths` [] where they differ.
    """
    if path is None:
        hint = "for example: bigtrain fit data=sequences data.path=GunPoint_TRAIN.ts model=rnn"
        raise ConfigError("data.path", "no file is given", allowed="a .ts, .npz or .npy file, a folder", hint=hint)
    where = Path(path).expanduser()
    if not where.exists():
        raise DataError(where, "no such file or folder", hint="data.path names a .ts, .npz or .npy file")
    given = _files(where)
    _check_channels(given)
    cut, missing = _cut(where, given, length)
    channels = cut["train"][0].shape[1]
    held = (0.0 if "validation" in given else validation, 0.0 if "test" in given else test)
    kind = _kind(given["train"], target_kind)
    rows = _rows(given["train"], kind, *held)
    scaling = Scaling.of([cut["train"][row] for row in rows["train"]]) if standardize else Scaling.none(channels)
    fields, columns = _inputs(cut, scaling)
    field, targets, classes = _targets(given, kind, rows["train"])
    if field is not None:
        fields["targets"] = field
        for split, found in targets.items():
            columns[split]["targets"] = found
    sources: dict[Split, Arrays] = {split: Arrays(found) for split, found in columns.items()}
    whole = sources["train"]
    sources |= {split: whole.subset(part) for split, part in rows.items() if split == "train" or len(part)}
    notes = {"path": str(where), "series": _noted(cut, channels, missing, standardize)}
    reader = Reader("series", {"forecast": False, **scaling.settings()})
    name = where.name if where.is_dir() else where.stem.removesuffix("_TRAIN").removesuffix("_TEST")
    return dataset(name, fields, sources, classes=classes, reader=reader, notes=notes)


def _cut(where: Path, given: Mapping[Split, Ragged], length: int | None) -> tuple[dict[Split, list[np.ndarray]], int]:
    """The examples of each split, up to `length` steps and without holes; and how many values were missing."""
    cut = {split: [example[:length] for example in part.values] for split, part in given.items()}
    sizes = [example.shape for part in cut.values() for example in part]
    needed = 8 * len(sizes) * max(steps for steps, _ in sizes) * sizes[0][1]
    check_memory(where, needed, "set data.length to keep fewer steps of each")
    missing = 0
    for split, part in cut.items():
        for index, example in enumerate(part):
            missing += int(np.isnan(example).sum())
            if np.isinf(example).any():
                raise DataError(given[split].where, f"example {index} has an infinite value")
    return {split: [filled(example) for example in part] for split, part in cut.items()}, missing


def _inputs(
    cut: Mapping[Split, list[np.ndarray]], scaling: Scaling
) -> tuple[dict[str, Field], dict[Split, dict[str, np.ndarray]]]:
    """The inputs of each split as one padded array, and the lengths where they differ."""
    lengths = {split: np.array([len(example) for example in part], np.int32) for split, part in cut.items()}
    steps = max(int(found.max()) for found in lengths.values())
    fields = {"inputs": Field((steps, cut["train"][0].shape[1]), "float32", "features")}
    columns = {split: {"inputs": padded([scaling.scaled(one) for one in part], steps)} for split, part in cut.items()}
    if min(int(found.min()) for found in lengths.values()) < steps:
        fields["lengths"] = Field((), "int32", "length")
        for split, found in lengths.items():
            columns[split]["lengths"] = found
    return fields, columns


def _files(where: Path) -> dict[Split, Ragged]:
    """The splits that the files tell."""
    found: dict[Split, Ragged] = {}
    if where.is_dir() or where.suffix.lower() == ".ts":
        for split, file in pair_of(where).items():
            part = read_series(file)
            if part is not None:
                found[split] = part  # type: ignore[index]
        return found
    splits: tuple[Split, ...] = ("train", "validation", "test") if where.suffix.lower() == ".npz" else ("train",)
    for one in splits:
        part = read_series(where, one)
        if part is not None:
            found[one] = part
    return found


def _check_channels(given: Mapping[Split, Ragged]) -> None:
    """All examples have as many channels, all have targets or none, and each has one."""
    first = given["train"]
    for part in given.values():
        channels = {example.shape[1] for example in part.values}
        if channels != {first.values[0].shape[1]}:
            problem = f"has examples of {max(channels)} channels, and the first has {first.values[0].shape[1]}"
            raise DataError(part.where, problem)
        if (part.targets is None) != (first.targets is None):
            raise DataError(part.where, "has no targets, and the training examples have; or the other way round")
        if part.targets is not None and len(part.targets) != len(part.values):
            raise DataError(part.where, f"has {len(part.values)} examples, and {len(part.targets)} targets")


def _kind(first: Ragged, kind: Literal["auto", "label", "real"]) -> Literal["label", "real"]:
    """What the targets are: as set, as the file says, or by their type."""
    if kind != "auto":
        return kind
    return "real" if first.real or (first.targets is not None and first.targets.dtype.kind == "f") else "label"


def _rows(first: Ragged, kind: Literal["label", "real"], validation: float, test: float) -> dict[Split, np.ndarray]:
    """The rows of each split of the training examples; every class is cut alike, since archives are small."""
    if kind == "real" or first.targets is None or first.targets.ndim != 1 or max(validation, test) >= 1:
        return random_split(len(first.values), validation, test)
    codes = np.unique(first.targets, return_inverse=True)[1]
    rows = stratified_split(codes, validation, test)
    wanted: dict[Split, float] = {"train": 1.0, "validation": validation, "test": test}
    whole = all(len(rows[split]) for split, share in wanted.items() if share)
    return rows if whole else random_split(len(first.values), validation, test)


Targets = tuple[Field | None, dict[Split, np.ndarray], tuple[str, ...] | None]


def _targets(given: Mapping[Split, Ragged], kind: Literal["label", "real"], train: np.ndarray) -> Targets:
    """Labels as indices into the classes, or real targets in deviations from their mean over training."""
    first = given["train"]
    arrays = {split: part.targets for split, part in given.items() if part.targets is not None}
    if not arrays:
        return None, {}, None
    for split, array in arrays.items():
        if array.ndim != 1:
            problem = f"the targets have the shape {list(array.shape)}; one an example is needed"
            raise DataError(given[split].where, problem, hint="data=npz reads a target at each step")
    stored = arrays["train"]
    if kind == "label":
        classes = first.classes or _classes(arrays)
        index = {name: at for at, name in enumerate(classes)}
        found = {}
        for split, array in arrays.items():
            texts = [str(item) for item in array.tolist()]
            unknown = next((text for text in texts if text not in index), None)
            if unknown is not None:
                problem = f"the label {unknown!r} is none of the classes {', '.join(classes[:8])}"
                raise DataError(given[split].where, problem)
            found[split] = np.array([index[text] for text in texts], np.int32)
        return Field((), "int32", "label"), found, classes
    if stored.dtype.kind not in "biuf":
        raise DataError(first.where, f"the targets are texts such as {stored[0]!r}, not real values")
    known = stored[train].astype(np.float64)
    if not all(np.isfinite(array.astype(np.float64)).all() for array in arrays.values()):
        raise DataError(first.where, "a target is not finite", hint="leave such examples out")
    shift, scale = float(known.mean()), float(known.std()) or 1.0
    scaled = {split: ((array - shift) / scale).astype(np.float32) for split, array in arrays.items()}
    return Field((), "float32", "real", scale=scale, shift=shift), scaled, None


def _classes(arrays: Mapping[Split, np.ndarray]) -> tuple[str, ...]:
    """The distinct labels of all splits: numbers in their order, texts in alphabetical order."""
    found = np.unique(np.concatenate(list(arrays.values())))
    return tuple(str(item) for item in found.tolist())


def _noted(cut: Mapping[Split, list[np.ndarray]], channels: int, missing: int, standardize: bool) -> str:
    """The facts for the start summary."""
    lengths = [len(example) for part in cut.values() for example in part]
    steps = f"{min(lengths):,} to {max(lengths):,} steps" if min(lengths) < max(lengths) else f"{lengths[0]:,} steps"
    text = f"{channels} channel{'s' * (channels > 1)} of {steps}" + (", standardised" if standardize else "")
    return text + (f"; {missing:,} missing values interpolated" if missing else "")
