"""Arrays that the user saved with NumPy: an .npz archive, one .npy file, or a folder of .npy files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from bigtrain.config.errors import ConfigError, DataError, did_you_mean
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data import columns
from bigtrain.data.arrays import LARGE, Arrays, dataset
from bigtrain.data.bounds import check_inside, check_regular
from bigtrain.data.checks import check_lengths, check_memory
from bigtrain.data.columns import InputKind, Raw, TargetKind, Typed
from bigtrain.data.memory import read
from bigtrain.data.spec import SPLITS, Dataset, Source, Split, Vocabulary
from bigtrain.data.splits import random_split
from bigtrain.data.targets import implied_kind, steps, whole_number_notes

SMALL = 64 << 20  # bytes up to which an array is read even where the set is mapped
ROLES = {
    "inputs": ("inputs", "input", "x", "images", "image", "features", "data"),
    "targets": ("targets", "target", "y", "labels", "label"),
    "lengths": ("lengths",),
    "segments": ("segments",),
}
WORDS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
NO_LABELS = "for regression set data.target_kind=real; for more classes than the labels show, data.classes=NUMBER"
# what NumPy and zipfile raise on damaged files, found by flipping bytes
DAMAGE = (ValueError, EOFError, OSError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)
Load = Callable[[], np.ndarray]
Named = Mapping[str, Mapping[Split, Raw]]


def npz(
    *,
    path: str | None = None,
    inputs: str | None = None,
    targets: str | None = None,
    kind: Literal["auto", "features", "tokens"] = "auto",
    target_kind: Literal["auto", "label", "real", "tokens"] = "auto",
    classes: PositiveInt | None = None,
    vocabulary: PositiveInt | None = None,
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Your own arrays: an .npz archive, an .npy file, or a folder of .npy files, mapped from disk when large.

    Splits that the names tell (x_train, y_train, x_val, x_test, train_images, …) are used as they are; those that
    aren't there are drawn from the training examples, the same ones for every seed.

    Args:
        path: the archive, file or folder.
        inputs: the name of the inputs; found by itself if it is inputs, x, images, features or data.
        targets: the name of the targets; found by itself if it is targets, y or labels. Without targets the set is
            unlabelled.
        kind: what the inputs are. `auto`: bytes are images scaled to 0 to 1, rows of other integers are tokens, all
            else are features.
        target_kind: what the targets are. `auto`: one integer or string an example is a class label, so is one at each
            step of real inputs; one at each step of tokens is a token; floats are real.
        classes: the number of classes; one more than the greatest label by default.
        vocabulary: the number of tokens; one more than the greatest by default, found by reading the whole set.
        validation: the share of the training examples held out for validation.
        test: the share of the training examples held out for testing.

    Returns:
        `inputs`, and `targets`, `lengths` [] and `segments` [steps] where the set has them.
    """
    if path is None:
        hint = "for example: bigtrain fit data=npz data.path=mine.npz"
        raise ConfigError("data.path", "no file is given", allowed="an .npz, an .npy, a folder of .npy", hint=hint)
    where = Path(path).expanduser()
    loads = _members(where)
    raws = _loaded(where, loads, {"inputs": inputs, "targets": targets})
    notes = {"path": str(where), **_unused(loads, raws)}
    if target_kind == "auto" and raws["targets"]:
        marks, first = raws["targets"]["train"], raws["inputs"]["train"]
        target_kind = implied_kind(marks, first, columns.is_tokens(raws["inputs"], kind))
        notes |= whole_number_notes(marks)
    typed, size = _typed(raws, kind, target_kind, classes, vocabulary)
    sources: dict[Split, Source] = {}
    for split in raws["inputs"]:
        source = Arrays({name: found.columns[split] for name, found in typed.items() if split in found.columns})
        sources[split] = source
        if split == "train":
            held = (0.0 if "validation" in raws["inputs"] else validation, 0.0 if "test" in raws["inputs"] else test)
            parts = random_split(len(source), *held)
            sources |= {held: source.subset(rows) for held, rows in parts.items() if held == "train" or len(rows)}
    fields = {name: found.field for name, found in typed.items()}
    names = typed["targets"].classes if "targets" in typed else None
    symbols = Vocabulary(tuple(str(token) for token in range(size))) if size else None
    return dataset(where.stem, fields, sources, classes=names, vocabulary=symbols, notes=notes)


def _typed(
    raws: Named, kind: InputKind, target_kind: TargetKind, classes: int | None, vocabulary: int | None
) -> tuple[dict[str, Typed], int]:
    """Each batch key typed and checked, and the size of the vocabulary (0 without tokens)."""
    tokens = columns.is_tokens(raws["inputs"], kind)
    targets, length = raws["targets"], steps(raws["inputs"]["train"])
    held = [*raws["inputs"].values()] if tokens else []
    held += targets.values() if target_kind == "tokens" else []
    size = (vocabulary or columns.vocabulary_size(held)) if held else 0
    typed = {"inputs": columns.tokens(raws["inputs"], size) if tokens else columns.features(raws["inputs"])}
    lengths = columns.valid_lengths(raws["lengths"], length) if raws["lengths"] else None
    if targets and target_kind == "label":
        targets = columns.without_padding(targets, lengths)
        typed["targets"] = columns.labels(targets, classes, steps=length, hint=NO_LABELS)
    elif targets:
        typed["targets"] = columns.real_targets(targets) if target_kind == "real" else columns.tokens(targets, size)
    if lengths:
        typed["lengths"] = lengths
    if raws["segments"]:
        typed["segments"] = columns.segment_numbers(raws["segments"], length)
    return typed, size


def _loaded(where: Path, loads: Mapping[str, Load], given: Mapping[str, str | None]) -> Named:
    """The arrays of each role and split, read or mapped; in each split all are equally long."""
    names: dict[str, dict[Split, str]] = {}
    for role in ROLES:
        names[role] = _names(where, role, loads, given.get(role))
    for role, found in names.items():
        missing = [split for split in names["inputs"] if found and split not in found]
        if missing:
            have = ", ".join(found.values())
            raise DataError(where, f"has {role} for {have}, but none for {names['inputs'][missing[0]]!r}")
    raws = {
        role: {split: Raw(where, name, loads[name]()) for split, name in found.items() if split in names["inputs"]}
        for role, found in names.items()
    }
    for split in names["inputs"]:
        check_lengths(where, {found[split].name: found[split].array for found in raws.values() if found})
    return raws


def _unused(names: Iterable[str], raws: Named) -> dict[str, str]:
    """A note of the arrays that aren't read: one of them may have been meant as lengths or as targets."""
    used = {raw.name for found in raws.values() for raw in found.values()}
    left = [name for name in names if name not in used]
    return {"not read": ", ".join(left[:8]) + (" …" if len(left) > 8 else "")} if left else {}


def _names(where: Path, role: str, names: Iterable[str], given: str | None) -> dict[Split, str]:
    """The name of a role's array in each split; empty when the archive has no such role."""
    known = {name.lower(): name for name in names}
    bases: dict[str, dict[Split, str]] = {}
    for base in [given.lower()] if given else ROLES[role]:
        found: dict[Split, str] = {}
        for split in SPLITS:
            spelled = [form for word in WORDS[split] for form in (f"{base}_{word}", f"{word}_{base}")]
            spelled += [base] if split == "train" else []
            hits = [known[name] for name in spelled if name in known]
            if hits:
                found[split] = hits[0]
        if "train" in found:
            bases[base] = found
    if len(bases) > 1:
        listed = ", ".join(found["train"] for found in bases.values())
        raise ConfigError(f"data.{role}", f"several arrays of {where} may be the {role}", allowed=listed)
    if not bases and (given or role == "inputs"):
        problem = f"{given!r} is not in {where}" if given else f"none of the arrays in {where} is called inputs or x"
        hint = did_you_mean(given, known.values()) if given else None
        raise ConfigError(f"data.{role}", problem, allowed=sorted(known.values()), hint=hint)
    return next(iter(bases.values()), {})


def _members(where: Path) -> dict[str, Load]:
    """How to read each array of an archive, file or folder, by its name."""
    if not where.exists():
        raise DataError(where, "no such file or folder", hint="data.path names an .npz, an .npy or a folder of .npy")
    check_regular(where)
    if where.is_dir():
        files = sorted(where.glob("*.npy"))
        check_inside(where, files)
        if not files:
            raise DataError(where, "holds no .npy files", hint="save each array with numpy.save")
        total = sum(file.stat().st_size for file in files)
        return {file.stem: _opener(file, total) for file in files}
    if where.suffix == ".npy":
        return {"inputs": _opener(where, where.stat().st_size)}
    if not zipfile.is_zipfile(where):
        raise DataError(where, "is neither an .npz archive nor an .npy file", hint=_conversion(where))
    try:
        with zipfile.ZipFile(where) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    except DAMAGE as error:
        raise DataError(where, f"is a damaged archive: {error}", hint="was the file cut short?") from error
    needed = sum(info.file_size for info in members)
    check_memory(where, needed, "save each array with numpy.save into a folder: that is mapped, not read")
    return {info.filename.removesuffix(".npy"): _unpacker(where, info.filename) for info in members}


def _conversion(where: Path) -> str:
    """How to make an archive of a file that is none."""
    mark = {".csv": "','", ".tsv": "'\\t'", ".txt": "None"}.get(where.suffix.lower())
    if mark is None:
        return "save the arrays with numpy.savez(path, x=…, y=…)"
    table = f"table = numpy.loadtxt({where.name!r}, delimiter={mark})"
    archive = f"numpy.savez({where.stem + '.npz'!r}, x=table[:, :-1], y=table[:, -1])"
    return f"convert it: {table}, then {archive}; for classes y=table[:, -1].astype(int)"


def _opener(path: Path, total: int) -> Load:
    """Reads one .npy file; maps it where the whole set is large."""

    def load() -> np.ndarray:
        try:
            mapped = np.lib.format.open_memmap(path, mode="r")
            return mapped if total > LARGE and mapped.nbytes > SMALL else read(mapped)
        except DAMAGE as error:
            _unreadable(path, path.stem, error)

    return load


def _unpacker(path: Path, member: str) -> Load:
    """Reads one member of an .npz archive."""

    def load() -> np.ndarray:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        except DAMAGE as error:
            _unreadable(path, member.removesuffix(".npy"), error)

    return load


def _unreadable(path: Path, name: str, error: Exception) -> NoReturn:
    """Say why an array can't be read; objects are never unpickled, since a pickle can run any program."""
    if "bject" in str(error):
        hint = f"save plain arrays: numpy.stack({name}) if the rows are equally long, else pad them and add lengths"
        raise DataError(path, f"{name!r} holds pickled Python objects, which are never loaded", hint=hint) from error
    raise DataError(path, f"{name!r} can't be read: {error}", hint="was the file cut short?") from error
