"""Data sets that Hugging Face's library saved: which column is what, and that nothing but data is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from files import write_huggingface
from PIL import Image

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data import held_out
from bigtrain.data.huggingface import Rows, huggingface
from bigtrain.data.serialize import spec_from_json, spec_to_json
from bigtrain.data.spec import Dataset
from bigtrain.inference.inputs import read_inputs

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()
SAVE = "save it first: datasets.load_dataset(NAME).save_to_disk(FOLDER)"


def save(columns: dict[str, object], features: dict[str, object] | None = None, path: str = "set") -> None:
    kinds = datasets.Features(features) if features else None
    datasets.Dataset.from_dict(columns, features=kinds).save_to_disk(path)


def everything(dataset: Dataset, split: str = "train") -> dict[str, np.ndarray]:
    source = dataset.splits[split]
    return source[np.arange(len(source))]


def load(**keys: object) -> Dataset:
    return huggingface(**{"path": "set", "validation": 0, "test": 0, **keys})


def refusal(error: type[Exception] = DataError, **keys: object) -> str:
    with pytest.raises(error) as raised:
        load(**keys)
    return str(raised.value)


def test_numbers_with_classes(workdir: Path) -> None:
    write_huggingface(workdir / "set")
    made = load()
    assert dict(made.spec.sizes) == {"train": 40, "validation": 10, "test": 10}
    assert (made.spec.name, made.spec.classes) == ("set", ("no", "yes"))
    saved = datasets.load_from_disk("set")["train"]
    batch = everything(made)
    np.testing.assert_array_equal(batch["inputs"], np.stack([saved["a"], saved["b"]], 1).astype(np.float32))
    np.testing.assert_array_equal(batch["targets"], saved["label"])
    assert made.spec.notes["columns"] == "a, b, label"


def test_what_does_not_fit_is_read_as_needed(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_huggingface(workdir / "set")
    kept = load(validation=0.1)
    monkeypatch.setattr(held_out, "KEPT_BYTES", 10)
    lazy = load(validation=0.1)
    assert isinstance(lazy.splits["train"], Rows)
    indices = np.array([30, 0, 30])
    for name, values in kept.splits["train"][indices].items():
        np.testing.assert_array_equal(lazy.splits["train"][indices][name], values)


def test_images(workdir: Path) -> None:
    pixels = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5) * 6
    columns = {"image": [Image.fromarray(one) for one in pixels], "label": [1, 0]}
    save(columns, {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    made = load()
    np.testing.assert_array_equal(everything(made)["inputs"], pixels)
    assert (made.spec.classes, made.spec.reader.kind) == (("cat", "dog"), "image")
    assert load(size=3, channels=3).spec.inputs.shape == (3, 3, 3)
    columns["image"].append(Image.fromarray(pixels[0][:2]))
    columns["label"].append(0)
    save(columns, {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}, "mixed")
    answer = "data.size: mixed has images from 2x5 to 4x5 (height x width)\n  choose one: data.size=64"
    assert refusal(ConfigError, path="mixed") == answer


def test_an_address_in_place_of_an_image_is_never_followed(workdir: Path) -> None:
    rows = [{"bytes": None, "path": "http://localhost:9/secret.png"}] * 2
    _unembedded(rows)
    answer = "set: 'image' of row 0 is not in the data set but at 'http://localhost:9/secret.png'; save it with the"
    assert refusal().startswith(answer)


def _unembedded(rows: list[dict[str, object]]) -> None:
    """Such a set, made by hand: the library would fetch the images to embed them."""
    import pyarrow as pa

    path = Path("set")
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(rows, kind), "label": ["a", "b"]})
    path.mkdir()
    with pa.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    features = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
    (path / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "x", "_split": None}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    (path / "state.json").write_text(json.dumps(state))


def test_texts(workdir: Path) -> None:
    save({"text": ["Good film", "a bad bad film", "good"], "label": ["pos", "neg", "pos"], "id": [1, 2, 3]})
    made = load(text_column="text", length=3)
    assert made.spec.classes == ("neg", "pos")
    batch = everything(made)
    assert batch["lengths"].tolist() == [2, 3, 1]
    words = made.spec.vocabulary
    assert [words.decode(row[:n]) for row, n in zip(batch["inputs"], batch["lengths"], strict=True)] == [
        "good film", "a bad bad", "good",
    ]  # fmt: skip
    assert made.spec.notes["unused"] == "id"
    Path("mine.txt").write_text("bad film\ngood\n")
    spec = spec_from_json(json.loads(spec_to_json(made.spec)), "spec.json")
    found = read_inputs(Path("mine.txt"), spec)
    assert found["lengths"].tolist() == [2, 1]
    assert words.decode(found["inputs"][0, :2]) == "bad film"
    assert load(text_column="text", level="bytes", length=9).spec.vocabulary.raw
    save({"text": ["a", " "], "label": ["x", "y"]}, path="void")
    answer = "void: 'text' is empty at row 1\n  drop such rows, and save it again"
    assert refusal(path="void", text_column="text") == answer


def test_targets_of_each_kind(workdir: Path) -> None:
    save({"x": [[1.0, 2.0], [3.0, 4.0]], "real": [0.5, 1.5], "number": [7, 3], "word": ["b", "a"]},
         {"x": datasets.List(datasets.Value("float64"), length=2), "real": datasets.Value("float32"),
          "number": datasets.Value("int64"), "word": datasets.Value("string")})  # fmt: skip
    real = load(inputs="x", targets="real")
    assert (real.spec.targets.kind, everything(real)["targets"].tolist()) == ("real", [0.5, 1.5])
    assert everything(real)["inputs"].tolist() == [[1, 2], [3, 4]]
    number = load(inputs="x", targets="number")
    assert (number.spec.classes, everything(number)["targets"].tolist()) == (("3", "7"), [1, 0])
    assert load(inputs="x", targets="word").spec.classes == ("a", "b")
    assert set(load(inputs="x", targets="none").spec.fields) == {"inputs"}
    assert everything(load(inputs=["x", "number"], targets="none"))["inputs"].tolist() == [[1, 2, 7], [3, 4, 3]]


def test_columns_that_make_no_sense(workdir: Path) -> None:
    save({"text": ["a", "b"], "x": [1.0, None], "y": [1, 2]})
    ask = "data.targets: which column is to be predicted?\n  allowed: text, x, y\n  or train without: data.targets=none"
    assert refusal(ConfigError) == ask
    assert refusal(ConfigError, targets="z") == "data.targets: 'z' is no column\n  allowed: text, x, y"
    assert refusal(ConfigError, targets="y") == (
        "data.inputs: which columns go into the model?\n  allowed: text (text), x (number)\n"
        "  data.text_column=NAME reads texts"
    )
    assert refusal(ConfigError, targets="y", inputs="text") == (
        "data.inputs: column 'text' holds text, and image or number is needed\n"
        "  texts are inputs with data.text_column=text"
    )
    assert refusal(ConfigError, targets="y", inputs="y").startswith("data.inputs: 'y' is what is to be predicted")
    answer = (
        "set: 'x' is missing or not finite at row 1\n  fill missing values in, or drop such rows, and save it again"
    )
    assert refusal(targets="y", inputs="x") == answer
    both = refusal(ConfigError, targets="y", inputs="x", text_column="text")
    assert both == "data.text_column: the inputs are given by data.inputs too\n  drop one of them"


def test_folders_that_hold_no_set(workdir: Path) -> None:
    assert refusal() == f"set: no such folder\n  {SAVE}"
    Path("set").mkdir()
    Path("set/set.py").write_text("raise SystemExit('code of the data set was run')")
    assert refusal() == f"set: holds no data set that save_to_disk wrote\n  {SAVE}"
    Path("set/state.json").write_text("{}")
    assert refusal().startswith("set: can't be read: ")
    assert refusal(ConfigError, path=None) == f"data.path: no folder is given\n  {SAVE}, then data.path=FOLDER"


def test_splits_with_other_names(workdir: Path) -> None:
    part = datasets.Dataset.from_dict({"x": [1.0], "label": [0]})
    datasets.DatasetDict({"train": part, "unsupervised": part}).save_to_disk("set")
    assert refusal() == (
        "set: has a split 'unsupervised'\n"
        "  known are train, validation, valid, val, dev and test; rename or drop it, and save it again"
    )
    datasets.DatasetDict({"test": part}).save_to_disk("other")
    assert refusal(path="other") == "other: has no training split; it has test"


def test_without_the_library(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    assert refusal() == "set: needs the package 'datasets'\n  pip install 'bigtrain[hf]'"
