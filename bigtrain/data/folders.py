"""Files in folders as examples: a class a folder, split folders where there are some, or labels from a CSV file."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.arrays import Column
from bigtrain.data.bounds import check_inside
from bigtrain.data.labels_file import LabelsFile, TargetKind, labels_of
from bigtrain.data.progress import files
from bigtrain.data.spec import SPLITS, Field, Split
from bigtrain.data.splits import random_split

WORDS: Mapping[str, Split] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
SHOWN = 4  # names that a note or a message lists
SYSTEM = ("__MACOSX", "Thumbs.db", "desktop.ini")  # put beside a person's files by an operating system


@dataclass(frozen=True)
class Found:
    """The files of a set: paths relative to `root`, sorted, with what each is labelled with.

    `labels` is int32 [N] where there are `classes`, float32 [N] where the targets are numbers, None where there are
    none. `rows` holds the files of each split; without a `validation` and a `test` they are still to be held out.
    """

    root: Path
    paths: tuple[str, ...]
    rows: Mapping[Split, np.ndarray]
    labels: np.ndarray | None
    classes: tuple[str, ...] | None
    notes: Mapping[str, str]

    def without(self, dropped: Collection[int]) -> Found:
        """The same set without the files of these numbers."""
        keep = np.setdiff1d(np.arange(len(self.paths)), np.array(sorted(dropped), np.int64))
        place = np.full(len(self.paths), -1)
        place[keep] = np.arange(len(keep))
        rows = {split: place[found][place[found] >= 0] for split, found in self.rows.items()}
        labels = None if self.labels is None else self.labels[keep]
        return replace(self, paths=tuple(self.paths[at] for at in keep), rows=rows, labels=labels)

    def held_out(self, validation: float, test: float) -> dict[Split, np.ndarray]:
        """The files of every split; those that the folders don't tell are drawn from the training files."""
        train = self.rows["train"]
        if not len(train):
            raise DataError(self.root, "no file is left to train on")
        held = random_split(
            len(train), 0.0 if "validation" in self.rows else validation, 0.0 if "test" in self.rows else test
        )
        return {**{split: train[rows] for split, rows in held.items()}, **self.rows, "train": train[held["train"]]}

    def columns(self, inputs: Column) -> dict[str, Column]:
        """The columns of the batch: the inputs, and the targets if there are any."""
        return {"inputs": inputs} if self.labels is None else {"inputs": inputs, "targets": self.labels}

    def fields(self, inputs: Field) -> dict[str, Field]:
        """What the columns hold."""
        target = Field((), "int32", "label") if self.classes else Field((), "float32", "real")
        return {"inputs": inputs} if self.labels is None else {"inputs": inputs, "targets": target}

    def note(self, **more: str) -> Found:
        """The same set with more notes; empty ones are left out."""
        return replace(self, notes={**self.notes, **{name: text for name, text in more.items() if text}})


@dataclass(frozen=True)
class Labels:
    """Where labels come from: the folders, nowhere (`none`), or a CSV file and which of its columns."""

    source: str | None = None
    file_column: str | None = None
    label_column: str | None = None
    target_kind: TargetKind = "auto"


def find(root: Path, what: str, suffixes: Collection[str], labels: Labels, hint: str | None = None) -> Found:
    """The files under `root` with one of the `suffixes` (lower case, any case matches), and their labels.

    A link may lead elsewhere in the folder, and not out of it: data may come from a stranger.
    Hidden files are left out; files of other kinds are left out and counted in a note. `hint` is
    what to do where there are none.

    Raises:
        DataError: for a folder that isn't there or has no such files, or whose layout has no clear meaning.
    """
    paths, others, folders = _listing(root, what, suffixes, hint)
    notes = {"path": str(root)}
    if others:
        kinds = ", ".join(f"{suffix or 'no suffix'} {count:,}" for suffix, count in others.most_common(SHOWN))
        notes["ignored"] = f"{files(sum(others.values()))} of another kind than {what}: {kinds}"
    layout = _split_folders(root, paths)
    if labels.source not in (None, "none"):
        return _from_file(root, paths, layout, labels, notes)
    for key in ("file_column", "label_column"):
        if getattr(labels, key) is not None:
            raise ConfigError(f"data.{key}", "there is no labels file", hint="name it: data.labels=labels.csv")
    inner = [path.split("/")[1:] if layout else path.split("/") for path in paths]
    names = [parts[0] if len(parts) > 1 else None for parts in inner]
    rows = _rows(paths, layout)
    if labels.source == "none" or not any(names):
        return Found(root, paths, rows, None, None, notes)
    return _classified(root, paths, rows, names, notes, _empty(paths, folders, layout))


def _listing(
    root: Path, what: str, suffixes: Collection[str], hint: str | None
) -> tuple[tuple[str, ...], Counter[str], set[str]]:
    """Paths of the wanted files, how many others there are by suffix, and all folders."""
    if not root.exists():
        raise DataError(root, "no such folder", hint=f"data.path names a folder of {what}")
    if not root.is_dir():
        raise DataError(root, "is a file, not a folder", hint=f"data.path names a folder of {what}")
    paths: list[str] = []
    others: Counter[str] = Counter()
    folders: set[str] = set()
    seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    for top, inside, here_are in os.walk(root, followlinks=True):
        place = Path(top).stat()
        if (place.st_dev, place.st_ino) in seen:
            inside.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        inside[:] = sorted(name for name in inside if not name.startswith(".") and name not in SYSTEM)
        check_inside(root, (Path(top, name) for name in inside))
        here = Path(top).relative_to(root).as_posix()
        folders.update(f"{here}/{name}".removeprefix("./") for name in inside)
        for name in here_are:
            suffix = Path(name).suffix.lower()
            if name.startswith(".") or name in SYSTEM:
                continue
            if suffix in suffixes:
                _check(root, f"{top}/{name}")
                paths.append(f"{here}/{name}".removeprefix("./"))
            else:
                others[suffix] += 1
    if not paths:
        has = ", ".join(f"{count:,} {kind or 'files without a suffix'}" for kind, count in others.most_common(SHOWN))
        problem = f"holds no {what}" + (f"; it has {has}" if others else "")
        raise DataError(root, problem, hint=hint or f"it reads {' '.join(sorted(suffixes))}")
    return tuple(sorted(paths)), others, folders


def _check(root: Path, path: str) -> None:
    """Refuses what is no file of the folder; one look at it, since there may be millions."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        check_inside(root, [Path(path)])


def _split_folders(root: Path, paths: Sequence[str]) -> dict[str, Split]:
    """The folders directly under the root that are splits, by name; {} where they are classes or there are none."""
    tops = sorted({path.split("/")[0] for path in paths if "/" in path})
    named = {top: WORDS[top.lower()] for top in tops if top.lower() in WORDS}
    rest = [top for top in tops if top not in named]
    train = [top for top, split in named.items() if split == "train"]
    if not train:
        if named and not rest and len(named) > 1:
            raise DataError(root, f"has the split folders {_list(named)}, and none is called train")
        return {}
    nested = any(path.startswith(f"{top}/") and path.count("/") > 1 for path in paths for top in train)
    if rest and not nested:
        return {}  # a class is called 'train'
    if rest:
        hint = "move them out, or give data.path=… the folder that holds classes alone"
        raise DataError(root, f"has split folders ({_list(named)}) and others beside them: {_list(rest)}", hint=hint)
    for split in SPLITS:
        same = [top for top, one in named.items() if one == split]
        if len(same) > 1:
            raise DataError(root, f"has several folders for the {split} split: {_list(same)}", hint="keep one")
    loose = [path for path in paths if "/" not in path]
    if loose:
        hint = "move them into a split folder"
        raise DataError(root, f"has files beside the split folders ({_list(named)}): {_list(loose)}", hint=hint)
    return named


def _rows(paths: Sequence[str], layout: Mapping[str, Split]) -> dict[Split, np.ndarray]:
    """The numbers of each split's files; all are for training where there are no split folders."""
    if not layout:
        return {"train": np.arange(len(paths))}
    of = np.array([SPLITS.index(layout[path.split("/")[0]]) for path in paths])
    return {split: np.flatnonzero(of == at) for at, split in enumerate(SPLITS) if split in layout.values()}


def _classified(
    root: Path, paths: tuple[str, ...], rows: Mapping[Split, np.ndarray], names: Sequence[str | None],
    notes: Mapping[str, str], empty: Sequence[str],
) -> Found:  # fmt: skip
    """The set with a class a folder; a validation or test split without folders can't be scored and is left out."""
    bare = [split for split, found in rows.items() if split != "train" and not any(names[at] for at in found)]
    left_out = [at for split in bare for at in rows[split].tolist()]
    rows = {split: found for split, found in rows.items() if split not in bare}
    used = np.sort(np.concatenate(list(rows.values())))
    loose = [paths[at] for at in used if names[at] is None]
    if loose:
        hint = "move them into a class folder, name a labels file (data.labels=labels.csv), or set data.labels=none"
        raise DataError(root, f"has {files(len(loose))} beside the class folders: {_list(loose)}", hint=hint)
    classes = _ordered({str(names[at]) for at in rows["train"]})
    for split, found in rows.items():
        unknown = sorted({str(names[at]) for at in found} - set(classes))
        if unknown:
            raise DataError(root, f"the {split} split has classes that the training split lacks: {_list(unknown)}")
    made = Found(root, paths, rows, None, None, notes)
    made = made.note(**dict.fromkeys(bare, "left out: its files are in no class folder"))
    made = made.note(empty=f"class folders without a file, left out: {_list(empty)}" if empty else "")
    if len(classes) == 1:
        return made.note(labels=f"one folder ({classes[0]}) is no choice: unlabelled").without(left_out)
    place = {name: at for at, name in enumerate(classes)}
    labels = np.array([place.get(str(name), 0) for name in names], np.int32)  # 0 of a split that is left out
    return replace(made, labels=labels, classes=classes).without(left_out)


def _from_file(
    root: Path, paths: tuple[str, ...], layout: Mapping[str, Split], labels: Labels, notes: Mapping[str, str]
) -> Found:
    """The set with the labels of a CSV file, which lies in the folder or where the command was typed."""
    given = Path(str(labels.source)).expanduser()
    where = root / given if (root / given).is_file() else given
    if where != given:
        check_inside(root, [where])
    file = LabelsFile.read(where, paths, labels.file_column, labels.label_column)
    values, classes = labels_of(file, labels.target_kind)
    numbers = np.array(sorted(file.values), np.int64)
    rows = _rows(paths, layout)
    if file.splits:
        if layout:
            raise DataError(where, f"has a column of splits, and {root} has split folders", hint="keep one of the two")
        of = {at: WORDS.get(name.lower()) for at, name in file.splits.items()}
        unknown = sorted({file.splits[at] for at, split in of.items() if split is None})
        if unknown or "train" not in of.values():
            problem = f"its splits are called {_list(unknown)}" if unknown else "none of its files is for training"
            raise DataError(where, problem, hint=f"known are {', '.join(WORDS)}")
        rows = {split: np.array([at for at in numbers if of[at] == split], np.int64) for split in SPLITS}
        rows = {split: found for split, found in rows.items() if len(found)}
    made = Found(root, paths, rows, None, classes, notes)
    full = np.zeros(len(paths), values.dtype)
    full[numbers] = values
    missing = sorted(set(range(len(paths))) - set(numbers.tolist()))
    made = made.note(labels=f"{where}, column {file.column}")
    made = made.note(unlabelled=f"{files(len(missing))} not named in {where.name}, left out" if missing else "")
    return replace(made, labels=full).without(missing)


def _empty(paths: Sequence[str], folders: Collection[str], layout: Mapping[str, Split]) -> list[str]:
    """Class folders without a single file."""
    depth = 1 if layout else 0
    known = {"/".join(path.split("/")[: depth + 1]) for path in paths}
    candidates = [folder for folder in folders if folder.count("/") == depth]
    if layout:
        candidates = [folder for folder in candidates if folder.split("/")[0] in layout]
    return sorted(folder for folder in candidates if folder not in known)


def _ordered(names: Collection[str]) -> tuple[str, ...]:
    """Names in order; numbers by their value."""
    numeric = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numeric else 0, name)))


def _list(names: Collection[str]) -> str:
    shown = sorted(names)[:SHOWN]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(shown) + more
