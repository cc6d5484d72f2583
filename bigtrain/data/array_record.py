"""ArrayRecord files through Grain: random access to sets far larger than memory, in any number of shards.

A record is one example. Beside a `spec.json`, which says what the fields mean, it is the bytes of its fields, one after
the other in the order of the spec (little endian): a batch of them is read in one go. Else it is an `.npz` archive
(numpy.savez, no pickles) with the fields by name, such as `inputs` and `targets`, which takes longer to read; length
and beginning of a record tell which it is. scripts/write_array_record.py writes the first kind, and the spec.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config import untrusted
from bigtrain.config.errors import ConfigError, DataError, InputError
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data.arrays import dataset
from bigtrain.data.bounds import check_inside
from bigtrain.data.folders import WORDS
from bigtrain.data.held_out import settled
from bigtrain.data.serialize import spec_from_json
from bigtrain.data.spec import SPLITS, Dataset, Field, Source, Spec, Split

SUFFIXES = (".array_record", ".arrayrecord")
WRITE = "python scripts/write_array_record.py OUT data=… makes such a folder from any data set"
ARCHIVE = b"PK"  # how an .npz archive begins
HEADER = 4096  # bytes that the header of an array may take beside its values
MOST_BYTES = 1 << 30  # of a record whose fields aren't known yet
DAMAGE = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


def array_record(
    *, path: str | None = None, classes: PositiveInt | None = None, validation: Share = 0.0, test: Share = 0.0
) -> Dataset:
    """ArrayRecord files, one or a sharded set, read through Grain: for data that doesn't fit in memory.

    Files are sorted into splits by the beginning of their names: train-00000-of-00010.array_record, validation-…,
    test-…; other names are for training. Each record is one example: the bytes of its fields as the spec.json beside
    the files lists them, or an .npz archive.

    Args:
        path: a file, a folder of *.array_record, or a pattern such as 'data/train-*'.
        classes: the number of classes, where there is no spec.json beside the files that says it.
        validation: the share of the training examples held out for validation, where no file is for it.
        test: the share of the training examples held out for testing, where no file is for it.

    Returns:
        The fields of the records: `inputs`, and `targets`, `lengths` … where they have them.
    """
    if path is None:
        hint = "for example: bigtrain fit data=array_record data.path=shards"
        raise ConfigError("data.path", "no files are given", allowed="a file, a folder or a pattern", hint=hint)
    files = _files(Path(path).expanduser())
    opened = {split: _open(found) for split, found in files.items()}
    first = next(iter(files.values()))[0]
    spec = _spec(first, opened["train"], classes)
    given: dict[Split, Source] = {
        split: Records(tuple(map(str, files[split])), source, spec) for split, source in opened.items()
    }
    splits, note = settled(given, spec.fields, validation, test)
    number = sum(map(len, files.values()))
    notes = {"path": path, "files": f"{number:,} with {sum(map(len, opened.values())):,} records", "read": note}
    return dataset(
        spec.name, spec.fields, splits, classes=spec.classes, vocabulary=spec.vocabulary,
        target_vocabulary=spec.target_vocabulary, reader=spec.reader, notes=notes,
    )  # fmt: skip


@dataclass(frozen=True)
class Records:
    """The examples of some ArrayRecord files; each is checked against the spec as it is read."""

    files: tuple[str, ...]
    source: Any  # grain.sources.ArrayRecordDataSource: bytes by number
    spec: Spec

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        try:
            records = self.source.__getitems__([int(at) for at in indices])
        except Exception as error:  # what the library raises on damaged files isn't documented
            raise DataError(self._names(), f"a record can't be read: {_short(error)}", hint="copy it again") from error
        form = row_type(self.spec.fields)
        raw = [len(record) == form.itemsize and not record.startswith(ARCHIVE) for record in records]
        if all(raw):
            table = np.frombuffer(b"".join(records), form)
            rows = {name: np.ascontiguousarray(table[name]) for name in self.spec.fields}
            if any(self._problem(name, rows[name], len(rows[name])) for name in rows):
                for place, at in enumerate(indices):  # which one it is
                    self._check({name: values[place] for name, values in rows.items()}, int(at))
            return rows
        examples = []
        for at, record, plain in zip(indices, records, raw, strict=True):
            if plain:
                row = np.frombuffer(record, form)[0]
                examples.append({name: np.asarray(row[name]) for name in self.spec.fields})
            else:
                examples.append(unpacked(record, f"{self._names()}: record {at}", self.spec.fields))
            self._check(examples[-1], int(at))
        return {name: np.stack([example[name] for example in examples]) for name in self.spec.fields}

    def _check(self, example: Mapping[str, np.ndarray], at: int) -> None:
        for name, value in example.items():
            problem = self._problem(name, value)
            if problem:
                raise DataError(f"{self._names()}: record {at}", problem)

    def _names(self) -> str:
        return self.files[0] + (f" and {len(self.files) - 1} more" if len(self.files) > 1 else "")

    def _problem(self, name: str, value: np.ndarray, *rows: int) -> str | None:
        """What is wrong with a value, or with `rows` of them, if anything."""
        field = self.spec.fields[name]
        if value.shape != (*rows, *field.shape) or value.dtype != np.dtype(field.dtype):
            return f"{name!r} is {value.dtype}{list(value.shape)}, and the spec says {field.dtype}{list(field.shape)}"
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return f"{name!r} holds values that are not finite"
        bound = None
        if field.kind == "label":
            bound = len(self.spec.classes or ())
        elif field.kind == "tokens":
            symbols = self.spec.target_vocabulary if name == "targets" else None
            bound = len(symbols or self.spec.vocabulary or ())
        if bound is not None and value.size and (value.min() < 0 or value.max() >= bound):
            return f"{name!r} holds {value.min()} to {value.max()}, and 0 to {bound - 1} are possible"
        return None


def row_type(fields: Mapping[str, Field]) -> np.dtype[np.void]:
    """How the fields of an example follow each other in a record."""
    return np.dtype([(name, np.dtype(field.dtype).newbyteorder("<"), field.shape) for name, field in fields.items()])


def packed(batch: Mapping[str, np.ndarray], fields: Mapping[str, Field]) -> list[bytes]:
    """The records of a batch of examples."""
    rows = np.empty(len(batch["inputs"]), row_type(fields))
    for name, field in fields.items():
        if batch[name].shape[1:] != field.shape or batch[name].dtype != np.dtype(field.dtype):
            found = f"{batch[name].dtype}{list(batch[name].shape[1:])}"
            raise InputError(f"{name!r} is {found}, and the spec says {field.dtype}{list(field.shape)}")
        rows[name] = batch[name]
    return [row.tobytes() for row in rows]


def unpacked(record: bytes, where: str, fields: Mapping[str, Field] | None = None) -> dict[str, np.ndarray]:
    """A record as its arrays; of the given fields, or, without them, of all that it holds.

    Raises:
        DataError: for a record that is no archive, holds pickles, lacks a field, or claims more bytes than a field has.
    """
    found = {}
    try:
        with zipfile.ZipFile(BytesIO(record)) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
            if fields is None and sum(sizes.values()) > MOST_BYTES:
                raise DataError(where, f"unpacks to more than the {MOST_BYTES:,} bytes that a record may have")
            for name in sizes if fields is None else fields:
                if name not in sizes:
                    raise DataError(where, f"has no {name!r}; it has {', '.join(sizes) or 'nothing'}")
                most = MOST_BYTES if fields is None else fields[name].nbytes + HEADER
                if sizes[name] > most:
                    raise DataError(where, f"{name!r} has {sizes[name]:,} bytes, more than the {most:,} it may have")
                with archive.open(f"{name}.npy") as stream:
                    found[name] = np.lib.format.read_array(stream, allow_pickle=False)
    except DAMAGE as error:
        if "bject" in str(error):
            raise DataError(where, "holds pickled Python objects, which are never loaded") from error
        raise DataError(where, f"is no .npz archive: {_short(error)}", hint=WRITE) from error
    return found


def _files(where: Path) -> dict[Split, list[Path]]:
    """The files of each split."""
    if where.is_dir():
        found = sorted(path for path in where.iterdir() if path.suffix in SUFFIXES)
        check_inside(where, [*found, where / "spec.json"])
    elif where.is_file():
        found = [where]
        check_inside(where.parent, [where.parent / "spec.json"])
    else:
        base = where.parent if where.parent.is_dir() else Path()
        found = sorted(path for path in base.glob(where.name) if path.is_file() and path.suffix != ".json")
    if not found:
        problem = "holds no *.array_record files" if where.is_dir() else "no such file, and no file fits the pattern"
        raise DataError(where, problem, hint=WRITE)
    splits: dict[Split, list[Path]] = {}
    for path in found:
        word = re.split(r"[-_.]", path.name.lower(), maxsplit=1)[0]
        splits.setdefault(WORDS.get(word, "train"), []).append(path)
    if "train" not in splits:
        raise DataError(where, f"has files for {' and '.join(splits)} alone", hint="data.path names all the files")
    return {split: splits[split] for split in SPLITS if split in splits}


def _open(files: Sequence[Path]) -> Any:
    """Grain's source over the files."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # the library reads its number of threads from there
        flags.FLAGS.mark_as_parsed()
    for path in files:
        try:
            grain.sources.ArrayRecordDataSource(str(path))
        except Exception as error:  # see Records
            hint = "was it copied whole?"
            raise DataError(path, f"is no ArrayRecord file, or a damaged one: {_short(error)}", hint=hint) from error
    source = grain.sources.ArrayRecordDataSource([str(path) for path in files])
    if not len(source):
        raise DataError(files[0], "holds no records")
    return source


def _spec(first: Path, source: Any, classes: int | None) -> Spec:
    """What the records hold: by the spec.json beside them, or by what the first one looks like."""
    beside = first.parent / "spec.json"
    if beside.is_file():
        if classes is not None:
            raise ConfigError("data.classes", f"{beside} says how many there are", hint="drop it")
        try:
            return spec_from_json(untrusted.read_json(beside, untrusted.LARGE), beside)
        except FileNotFoundError as error:
            raise DataError(beside, "is gone") from error
    example = unpacked(source[0], f"{first}: record 0")
    if "inputs" not in example:
        raise DataError(f"{first}: record 0", f"has no 'inputs'; it has {', '.join(example)}", hint=WRITE)
    fields = {name: _field(first, name, value) for name, value in example.items()}
    names = None
    if "targets" in fields and fields["targets"].kind == "label":
        if classes is None:
            hint = "set data.classes=NUMBER, or put a spec.json beside the files"
            raise ConfigError("data.classes", f"nothing says how many classes {first} has", hint=hint)
        names = tuple(str(label) for label in range(classes))
    return Spec(first.parent.resolve().name, fields, {}, names)


def _field(first: Path, name: str, value: np.ndarray) -> Field:
    """What an array of the first record means."""
    kind = value.dtype.kind
    plain = Field(value.shape, str(value.dtype.newbyteorder("=")), "features")
    if name == "inputs" and value.dtype == np.uint8:
        return replace(plain, scale=1 / 255, low=0.0, high=1.0)
    if name == "inputs" and kind == "f":
        return plain
    if name == "targets" and kind in "iu" and value.shape == ():
        return replace(plain, kind="label")
    if name == "targets" and kind == "f":
        return replace(plain, kind="real")
    if name == "lengths" and kind in "iu" and value.shape == ():
        return replace(plain, kind="length")
    hint = "put a spec.json beside the files that says it (scripts/write_array_record.py writes one)"
    raise DataError(
        f"{first}: record 0", f"what {name!r}, {value.dtype}{list(value.shape)}, means is unknown", hint=hint
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:150]
