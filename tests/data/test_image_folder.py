"""Folders of images: what counts as one, which split and class it gets, and what becomes of its pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from files import write_images
from PIL import Image

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data import decoded, pictures
from bigtrain.data.image_folder import image_folder
from bigtrain.data.serialize import spec_from_json, spec_to_json
from bigtrain.data.spec import Dataset
from bigtrain.inference.inputs import names_of, read_inputs

RED = (250, 10, 20)


def save(
    path: Path, pixels: object = RED, size: tuple[int, int] = (6, 4), mode: str = "RGB", **options: object
) -> Path:
    """A picture of `size` (width, height) in one colour, or of an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else Image.new("RGB", size, pixels).convert(mode)
    image.save(path, **options)
    return path


def everything(dataset: Dataset, split: str = "train") -> dict[str, np.ndarray]:
    source = dataset.splits[split]
    return source[np.arange(len(source))]


def refusal(error: type[Exception] = DataError, **keys: object) -> str:
    with pytest.raises(error) as raised:
        image_folder(**{"path": "set", **keys})
    return str(raised.value)


def test_a_class_a_folder(workdir: Path) -> None:
    write_images(workdir / "set", number=20)
    made = image_folder(path="set", size=6)
    assert (made.spec.name, made.spec.classes) == ("set", ("dark", "light"))
    assert dict(made.spec.sizes) == {"train": 32, "validation": 4, "test": 4}
    assert made.spec.inputs.shape == (6, 6)
    batch = everything(made)
    assert (batch["inputs"].dtype, batch["targets"].dtype) == (np.uint8, np.int32)
    bright = batch["inputs"].mean((1, 2)) > 125
    np.testing.assert_array_equal(bright, batch["targets"])
    again = everything(image_folder(path="set", size=6))
    np.testing.assert_array_equal(batch["inputs"], again["inputs"])


def test_what_is_no_image_is_left_out_and_counted(workdir: Path) -> None:
    save(Path("set/b/DEEP/er/x.JPG"))
    save(Path("set/a/1.png"))
    save(Path("set/a/.hidden.png"))
    save(Path("set/.git/2.png"))
    save(Path("set/__MACOSX/3.png"))
    Path("set/a/notes.TXT").write_text("hi")
    Path("set/empty").mkdir()
    made = image_folder(path="set", validation=0, test=0)
    assert made.spec.sizes["train"] == 2
    assert made.spec.classes == ("a", "b")
    assert made.spec.notes["ignored"] == "1 file of another kind than images: .txt 1"
    assert made.spec.notes["empty"] == "class folders without a file, left out: empty"


def test_split_folders(workdir: Path) -> None:
    for split in ("Train", "val", "test"):
        for name in ("1", "2", "10"):
            save(Path(f"set/{split}/{name}/x.png"))
    made = image_folder(path="set")
    assert dict(made.spec.sizes) == {"train": 3, "validation": 3, "test": 3}
    assert made.spec.classes == ("1", "2", "10"), "numbers are ordered by value"
    assert everything(made, "test")["targets"].tolist() == [0, 2, 1]


def test_a_test_split_without_classes_is_left_out(workdir: Path) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png"):
        save(Path("set") / name)
    made = image_folder(path="set", validation=0, test=0)
    assert dict(made.spec.sizes) == {"train": 2, "validation": 0, "test": 0}
    assert made.spec.notes["test"] == "left out: its files are in no class folder"


def test_a_class_may_be_called_train(workdir: Path) -> None:
    for name in ("train/1.png", "bus/1.png"):
        save(Path("set") / name)
    assert image_folder(path="set", validation=0, test=0).spec.classes == ("bus", "train")


def test_unlabelled(workdir: Path) -> None:
    for name in ("1.png", "2.png"):
        save(Path("set") / name)
        save(Path("one/folder") / name)
        save(Path("two/a") / name)
        save(Path("two/b") / name)
    for path, labels in (("set", None), ("one", None), ("two", "none")):
        assert set(image_folder(path=path, labels=labels, validation=0, test=0).spec.fields) == {"inputs"}


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        (["train/a/1.png", "train/b/1.png", "extra/1.png"],
         "set: has split folders (train) and others beside them: extra\n"
         "  move them out, or give data.path=… the folder that holds classes alone"),
        (["a/1.png", "b/1.png", "1.png"],
         "set: has 1 file beside the class folders: 1.png\n  move them into a class folder, name a labels file"
         " (data.labels=labels.csv), or set data.labels=none"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"],
         "set: the test split has classes that the training split lacks: c"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"],
         "set: has several folders for the validation split: val, valid\n  keep one"),
        (["val/a/1.png", "test/a/1.png"], "set: has the split folders test, val, and none is called train"),
    ],
)  # fmt: skip
def test_layouts_without_a_clear_meaning(files: list[str], answer: str, workdir: Path) -> None:
    for name in files:
        save(Path("set") / name)
    assert refusal() == answer


def test_paths_that_hold_nothing(workdir: Path) -> None:
    assert refusal() == "set: no such folder\n  data.path names a folder of images"
    Path("set").mkdir()
    reads = "it reads .bmp .gif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp"
    assert refusal() == f"set: holds no images\n  {reads}"
    Path("set/a.txt").write_text("")
    assert refusal() == f"set: holds no images; it has 1 .txt\n  {reads}"
    assert refusal(ConfigError, path=None).startswith("data.path: no folder is given")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode(mode: str, workdir: Path) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    save(Path(f"set/a/1.{suffix}"), "white", mode=mode)
    save(Path(f"set/b/1.{suffix}"), "black", mode=mode)
    made = image_folder(path="set", validation=0, test=0)
    batch = everything(made)
    assert made.spec.inputs.shape == ((4, 6) if mode in ("1", "L") else (4, 6, 3))  # P: of many colours
    assert [row.min() for row in batch["inputs"]] == [255, 0]
    assert [row.max() for row in batch["inputs"]] == [255, 0]


def test_transparent_parts_are_white_and_colour_can_be_dropped(workdir: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (*RED, 255)
    save(Path("set/a.png"), pixels)
    found = everything(image_folder(path="set", validation=0, test=0))["inputs"][0]
    assert found.tolist() == [[list(RED), [255] * 3], [[255] * 3] * 2]
    grey = everything(image_folder(path="set", channels=1, validation=0, test=0))["inputs"][0]
    assert grey.tolist() == [[83, 255], [255, 255]]  # (299 * 250 + 587 * 10 + 114 * 20) / 1000, ITU-R 601


def test_exif_rotation_is_applied(workdir: Path) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    save(Path("set/a.png"), pixels, exif=exif)
    found = everything(image_folder(path="set", size=[3, 2], validation=0, test=0))["inputs"][0]
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))
    save(Path("turned/a.jpg"), size=(6, 4), exif=exif)
    assert image_folder(path="turned", validation=0, test=0).spec.inputs.shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("crop", [[100, 100], [100, 100]]),  # the middle of 0 0 100 100 100 100 0 0
        ("stretch", [[50, 50], [50, 50]]),
        ("pad", None),
    ],
)
def test_fits(fit: str, expected: list[list[int]] | None, workdir: Path) -> None:
    row = np.array([0, 0, 100, 100, 100, 100, 0, 0], np.uint8)
    save(Path("set/a.png"), np.repeat(row[None], 4, 0))
    found = everything(image_folder(path="set", size=2, fit=fit, validation=0, test=0))["inputs"][0]
    if expected is None:
        found = everything(image_folder(path="set", size=8, fit=fit, validation=0, test=0))["inputs"][0]
        np.testing.assert_array_equal(found[2:6], np.repeat(row[None], 4, 0))
        assert not found[:2].any()
        assert not found[6:].any()
    else:
        np.testing.assert_allclose(found, expected, atol=15)  # the filter looks a little beyond each pixel


def test_sizes_that_differ_need_a_choice(workdir: Path) -> None:
    save(Path("set/a.png"), size=(6, 4))
    save(Path("set/b.png"), size=(3, 9))
    answer = "data.size: set has images from 4x6 to 9x3 (height x width)\n  choose one: data.size=64"
    assert refusal(ConfigError) == answer
    save(Path("large/a.png"), size=(600, 4))
    assert "large has images of 4x600" in refusal(ConfigError, path="large")


def broken(folder: Path) -> None:
    """Beside two good pictures: one cut short, one that is text, an empty one, one of 16 bits."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
    for name in ("a/1.png", "b/1.png"):
        save(folder / name, noise)
    whole = save(folder / "a/cut.jpg", noise).read_bytes()
    (folder / "a/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b/text.png").write_text("no picture")
    (folder / "b/void.png").write_bytes(b"")
    save(folder / "b/wide.png", noise.astype(np.uint16) * 200)


def test_broken_files_are_refused_by_name_or_skipped(workdir: Path) -> None:
    broken(Path("set"))
    hint = "\n  remove it, or leave such files out: data.broken=skip"
    assert refusal() == f"set/b/text.png: is no picture, or a damaged one{hint}"
    Path("set/b/text.png").unlink()
    Path("set/b/void.png").unlink()
    assert refusal() == f"set/b/wide.png: its pixels have more than 8 bits (mode I;16); save it with 8{hint}"
    Path("set/b/wide.png").unlink()
    assert refusal().startswith("set/a/cut.jpg: can't be decoded: ")
    broken(Path("other"))
    made = image_folder(path="other", broken="skip", validation=0, test=0)
    assert (made.spec.sizes["train"], made.spec.classes) == (2, ("a", "b"))
    skipped = "3 files broken, such as b/text.png; 1 file broken, such as a/cut.jpg"
    assert made.spec.notes["skipped"] == skipped
    assert everything(made)["targets"].tolist() == [0, 1]


def test_a_decompression_bomb_is_refused(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(Path("set/a.png"), size=(40, 40))
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1000)
    assert refusal(size=4).startswith("set/a.png: has 40 x 40 pixels, and at most 1,000 are decoded")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Pillow's own check comes first
    assert refusal(size=4).startswith("set/a.png: has more pixels than are decoded")


@pytest.mark.parametrize("skip", [False, True])
def test_what_does_not_fit_is_decoded_as_it_is_read(skip: bool, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(workdir / "set", number=8)
    (workdir / "set/dark/cut.png").write_bytes((workdir / "set/dark/000.png").read_bytes()[:60])
    if not skip:
        (workdir / "set/dark/cut.png").unlink()
    keys = {"path": "set", "size": 6, "broken": "skip" if skip else "refuse"}
    kept = image_folder(**keys)
    monkeypatch.setattr(decoded, "KEPT_BYTES", 10)
    lazy = image_folder(**keys)
    assert isinstance(lazy.splits["train"].columns["inputs"], decoded.Decoded)
    indices = np.array([7, 0, 3, 3])
    for name, values in kept.splits["train"][indices].items():
        np.testing.assert_array_equal(lazy.splits["train"][indices][name], values)
    (workdir / "set/light/000.png").write_bytes(b"")
    if not skip:
        with pytest.raises(DataError, match=r"000\.png: is no picture"):
            everything(lazy)


LABELS = "name,kind,split\n1.png,x,train\n2,y,train\nsub/3.png,x,test\n"


def test_a_labels_file(workdir: Path) -> None:
    for name in ("1.png", "2.png", "sub/3.png", "4.png"):
        save(Path("set") / name)
    Path("set/labels.csv").write_text(LABELS)
    made = image_folder(path="set", labels="labels.csv", validation=0)
    assert (dict(made.spec.sizes), made.spec.classes) == ({"train": 2, "validation": 0, "test": 1}, ("x", "y"))
    assert made.spec.notes["unlabelled"] == "1 file not named in labels.csv, left out"
    assert everything(made)["targets"].tolist() == [0, 1]
    Path("plain.csv").write_text("0.5;./4.png\n2;1.png\n")
    made = image_folder(path="set", labels="plain.csv", validation=0, test=0)
    assert (made.spec.targets.kind, everything(made)["targets"].tolist()) == ("real", [2.0, 0.5])


@pytest.mark.parametrize(
    ("text", "keys", "answer"),
    [
        ("1.png,x\n9.png,y\n", {}, "labels.csv: line 2: there is no file '9.png'"),
        ("1.png,x\n1.png,y\n", {}, "labels.csv: line 2: '1.png' is named twice"),
        ("1.png,x\n2.png,\n", {}, "labels.csv: line 2: '2.png' has no label"),
        ("1.png,x\n2.png\n", {}, "labels.csv: line 2 has 1 values, and line 1 has 2"),
        ("1.png,x\n2.png,x\n", {}, "labels.csv: column 1: all files have the same label, 'x'"),
        ("1.png,x,1\n2.png,y,2\n", {}, "data.label_column: which column holds the label?\n  allowed: 1, 2"),
        ("file,kind\n1.png,x\n2.png,y\n", {"label_column": "kinds"},
         "data.label_column: 'kinds' is no column\n  allowed: file, kind\n  did you mean 'kind'?"),
        ("a,b\nc,d\n", {}, "labels.csv: no column names files of the folder; line 2 is c, d\n  give paths relative to"
         " data.path, or name the column: data.file_column=…"),
        ("1.png,1\n2.png,x\n", {"target_kind": "real"},
         "labels.csv: column 1: 'x' is no number\n  for classes set data.target_kind=label"),
        ("", {}, "labels.csv: is empty"),
        ("f,split,label\n1.png,train,x\n2.png,rest,y\n", {},
         "labels.csv: its splits are called rest\n"
         "  known are train, training, validation, valid, val, dev, test, testing"),
    ],
)  # fmt: skip
def test_labels_files_that_make_no_sense(text: str, keys: dict[str, str], answer: str, workdir: Path) -> None:
    for name in ("1.png", "2.png"):
        save(Path("set") / name)
    Path("labels.csv").write_text(text)
    with pytest.raises((DataError, ConfigError)) as raised:
        image_folder(path="set", labels="labels.csv", **keys)
    assert str(raised.value) == answer


def test_a_users_pictures_become_what_training_saw(workdir: Path) -> None:
    for at in range(4):
        save(Path(f"set/{'ab'[at % 2]}/{at}.png"), RED, size=(9 + at, 7))
    made = image_folder(path="set", size=[4, 5], fit="stretch", validation=0, test=0)
    spec = spec_from_json(json.loads(spec_to_json(made.spec)), "spec.json")
    np.testing.assert_array_equal(read_inputs(Path("set/a/2.png"), spec)["inputs"][0], everything(made)["inputs"][1])
    np.testing.assert_array_equal(read_inputs(Path("set"), spec)["inputs"], everything(made)["inputs"])
    assert names_of(Path("set"), spec).tolist() == ["a/0.png", "a/2.png", "b/1.png", "b/3.png"]
    assert names_of(Path("set/a/0.png"), spec) is None
    Path("set/c.png").write_text("no")
    with pytest.raises(DataError) as raised:
        read_inputs(Path("set"), spec)
    hint = "predict answers for every file: take those that can't be read away"
    assert str(raised.value) == f"set/c.png: is no picture, or a damaged one\n  {hint}"


@pytest.mark.parametrize("change", [{"height": 99}, {"fit": "x"}, {"channels": 2}, {"width": "5"}, {"more": 1}])
def test_a_strangers_reader_is_checked(change: dict[str, object]) -> None:
    frame = pictures.Frame(4, 5, 3)
    with pytest.raises(DataError, match="the model's picture reader has settings that make no sense"):
        pictures.Frame.of("spec.json", {**frame.reader.settings, **change}, frame.shape)
