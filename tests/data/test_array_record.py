"""ArrayRecord files: what a record is, which split it is of, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from files import archive, examples, write_array_records, write_images, write_shard

from bigtrain.config.errors import ConfigError, DataError, InputError
from bigtrain.data import held_out
from bigtrain.data.array_record import Records, array_record, packed, unpacked
from bigtrain.data.spec import Dataset, Source

ROOT = Path(__file__).parent.parent.parent
WRITE = "python scripts/write_array_record.py OUT data=… makes such a folder from any data set"


def everything(source: Source) -> dict[str, np.ndarray]:
    return source[np.arange(len(source))]


def shard(name: str, *rows: dict[str, object]) -> Path:
    return write_shard(Path("set") / f"{name}.array_record", [archive(row) for row in rows])


def refusal(error: type[Exception] = DataError, **keys: object) -> str:
    with pytest.raises(error) as raised:
        array_record(**{"path": "set", **keys})
    return str(raised.value)


def test_shards_are_splits_and_the_spec_beside_them_says_what_they_hold(workdir: Path) -> None:
    write_array_records(workdir / "set")
    made = array_record(path="set")
    assert (made.spec.name, made.spec.classes) == ("shards", ("a", "b", "c"))
    assert dict(made.spec.sizes) == {"train": 24, "validation": 12, "test": 12}
    batch = everything(made.splits["train"])
    for name, values in examples(12, 1).items():
        np.testing.assert_array_equal(batch[name][12:], values)
    assert made.spec.notes["files"] == "4 with 48 records"


def test_records_of_bytes_and_archives_hold_the_same(workdir: Path) -> None:
    write_array_records(workdir / "bytes")
    write_array_records(workdir / "archives", archives=True)
    assert same(array_record(path="bytes"), array_record(path="archives"))


@pytest.mark.parametrize("wrong", [np.array([300, -1]), np.zeros((2, 1), np.int32)], ids=["type", "shape"])
def test_what_the_spec_does_not_hold_is_not_written(wrong: np.ndarray, workdir: Path) -> None:
    """An assignment would wrap 300 to 44, and repeat one value for all."""
    write_array_records(workdir / "set")
    fields = array_record(path="set").spec.fields
    with pytest.raises(InputError, match="'targets' is int"):
        packed({**examples(2), "targets": wrong}, fields)


def test_bytes_that_the_spec_does_not_allow(workdir: Path) -> None:
    write_array_records(workdir / "set")
    made = array_record(path="set")
    batch = everything(made.splits["train"])
    batch["targets"][7] = 3
    write_shard(Path("set/train-0.array_record"), packed(batch, made.spec.fields)[:12])
    with pytest.raises(DataError, match="record 7: 'targets' holds 3 to 3, and 0 to 2 are possible"):
        everything(array_record(path="set").splits["train"])
    write_shard(Path("set/train-0.array_record"), [record[:-1] for record in packed(batch, made.spec.fields)])
    with pytest.raises(DataError, match=r"record 0: is no \.npz archive"):
        everything(array_record(path="set").splits["train"])


@pytest.mark.parametrize("path", ["set/train-0.array_record", "set/train-*", "set"])
def test_a_file_a_pattern_or_a_folder(path: str, workdir: Path) -> None:
    write_array_records(workdir / "set")
    assert array_record(path=path).spec.sizes["train"] == {"set/train-0.array_record": 12}.get(path, 24)


def test_what_does_not_fit_is_read_as_needed(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_array_records(workdir / "set")
    for name in ("validation-0", "test-0"):
        (workdir / f"set/{name}.array_record").unlink()
    kept = array_record(path="set", validation=4, test=0.25)
    monkeypatch.setattr(held_out, "KEPT_BYTES", 10)
    lazy = array_record(path="set", validation=4, test=0.25)
    assert dict(lazy.spec.sizes) == {"train": 14, "validation": 4, "test": 6}
    assert isinstance(lazy.splits["train"].source, Records)
    assert lazy.spec.notes["read"] == "24 examples, read as needed"
    for split in kept.splits:
        indices = np.array([3, 0, 3])
        for name, values in kept.splits[split][indices].items():
            np.testing.assert_array_equal(lazy.splits[split][indices][name], values)


def test_without_a_spec_the_first_record_tells(workdir: Path) -> None:
    shard("a", *({"inputs": np.float32([at, 1]), "targets": np.int64(at)} for at in range(3)))
    answer = "data.classes: nothing says how many classes set/a.array_record has"
    assert refusal(ConfigError).splitlines()[0] == answer
    made = array_record(path="set", classes=3)
    assert (made.spec.name, made.spec.classes) == ("set", ("0", "1", "2"))
    assert [field.kind for field in made.spec.fields.values()] == ["features", "label"]
    assert everything(made.splits["train"])["targets"].tolist() == [0, 1, 2]


PLAIN = {"inputs": np.zeros(2, np.float32)}


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"inputs": np.zeros(3, np.float32)},
         "set/a.array_record: record 1: 'inputs' is float32[3], and the spec says float32[2]"),
        ({"inputs": np.zeros(2)}, "set/a.array_record: record 1: 'inputs' is float64[2], and the spec says float32[2]"),
        ({"inputs": np.array([0, np.nan], np.float32)},
         "set/a.array_record: record 1: 'inputs' holds values that are not finite"),
        ({"x": np.zeros(2, np.float32)}, "set/a.array_record: record 1: has no 'inputs'; it has x"),
        ({"inputs": np.zeros(5000, np.float32)},
         "set/a.array_record: record 1: 'inputs' has 20,128 bytes, more than the 4,104 it may have"),
        ({"inputs": np.array([None, {}])}, "set/a.array_record: record 1: holds pickled Python objects,"
         " which are never loaded"),
    ],
)  # fmt: skip
def test_records_that_are_not_like_the_first(row: dict[str, object], answer: str, workdir: Path) -> None:
    shard("a", PLAIN, row)
    assert refusal() == answer


def test_labels_beyond_the_classes(workdir: Path) -> None:
    shard("a", {**PLAIN, "targets": np.int32(0)}, {**PLAIN, "targets": np.int32(3)})
    assert refusal(classes=3) == "set/a.array_record: record 1: 'targets' holds 3 to 3, and 0 to 2 are possible"


def test_records_that_are_no_archives(workdir: Path) -> None:
    write_shard(Path("set/a.array_record"), [b"protobuf or so"])
    assert refusal() == f"set/a.array_record: record 0: is no .npz archive: File is not a zip file\n  {WRITE}"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inputs.npy", b"no array")
    with pytest.raises(DataError, match="here: is no"):
        unpacked(file.getvalue(), "here")


def test_damaged_files(workdir: Path) -> None:
    path = shard("a", *[PLAIN] * 200)
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        assert refusal().startswith("set/a.array_record: is no ArrayRecord file, or a damaged one: ")


def test_paths_that_hold_nothing(workdir: Path) -> None:
    assert refusal() == f"set: no such file, and no file fits the pattern\n  {WRITE}"
    Path("set").mkdir()
    assert refusal() == f"set: holds no *.array_record files\n  {WRITE}"
    shard("test-0", PLAIN)
    assert refusal() == "set: has files for test alone\n  data.path names all the files"
    assert refusal(ConfigError, path=None).startswith("data.path: no files are given")
    shard("train-0", PLAIN)
    Path("set/spec.json").write_text("{")
    assert refusal().startswith("set/spec.json: can't be read: ")


def test_the_script_writes_what_is_read(workdir: Path) -> None:
    from bigtrain.data.image_folder import image_folder

    write_images(workdir / "images", number=15)

    def script(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts/write_array_record.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)

    done = script("out", "data=image_folder", "data.path=images", "data.size=6", "--shards", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("train: 24 records, ")
    assert len(list(Path("out").glob("train-*-of-00002.array_record"))) == 2
    made, before = array_record(path="out"), image_folder(path="images", size=6)
    assert same(made, before)
    assert (made.spec.classes, made.spec.reader) == (before.spec.classes, before.spec.reader)
    again = script("out", "data=digits")
    assert (again.returncode, again.stderr) == (2, "error: out: is not empty\n")


def same(one: Dataset, other: Dataset) -> bool:
    return all(
        np.array_equal(values, everything(other.splits[split])[name])
        for split in other.splits
        for name, values in everything(one.splits[split]).items()
    )
