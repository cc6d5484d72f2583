"""What is refused before a model sees it, and which example is to blame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigtrain.config.errors import DataError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.inference.inputs import read_inputs

BYTES = Spec("images", {"inputs": Field((4, 4), "uint8", "features", 1 / 255, 0.0, 1.0)}, {})
DARK = Spec("dark", {"inputs": Field((2,), "uint8", "features", 1 / 16, 0.0, 1.0)}, {})
FLOATS = Spec("floats", {"inputs": Field((2,), "float32", "features", 1.0, 0.0, 1.0)}, {})
COLOUR = Spec("colour", {"inputs": Field((4, 4, 3), "uint8", "features", 1 / 255, 0.0, 1.0)}, {})
TOKENS = Spec("tokens", {"inputs": Field((3,), "uint8", "tokens")}, {}, vocabulary=Vocabulary(("a", "b", "c")))
CUT = Spec("cut", {**FLOATS.fields, "lengths": Field((), "int32", "length")}, {})
PACKED = Spec("packed", {**FLOATS.fields, "segments": Field((2,), "int32", "segments")}, {})
FIRST = "; the first such example has index 1"
NO_TOKENS = f"inputs has values that are no tokens, which are integers from 0 to 2{FIRST}"


def refusal(path: str, spec: Spec) -> str:
    with pytest.raises(DataError) as raised:
        read_inputs(Path(path), spec)
    return str(raised.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("spec", "rows", "answer"),
    [
        (DARK, [[0, 1], [0, 300]], f"inputs has values that are no uint8{FIRST}"),
        (DARK, [[0, 1], [0, -1]], f"inputs has values that are no uint8{FIRST}"),
        (DARK, [[0, 16], [0, 17]], f"values within [0, 1.0625], and the model was trained on [0, 1]{FIRST}"),
        (DARK, [[0.0, 1.0], [0.0, 1.5]], f"values within [0, 1.5], and the model was trained on [0, 1]{FIRST}"),
        (FLOATS, [[0, 1], [0, 255]], f"values within [0, 255], and the model was trained on [0, 1]{FIRST}"),
        (FLOATS, [[0, 1], [0, np.nan]], f"inputs has values that are not finite{FIRST}"),
        (TOKENS, [[0, 1, 2], [0, 3, 0]], NO_TOKENS),
        (TOKENS, [[0, 1, 2], [0, -1, 0]], NO_TOKENS),
        (TOKENS, [[0, 1, 2], [0.5, 1, 0]], NO_TOKENS),
        (CUT, [[0, 1], [0, 1]], "has no lengths, and the model needs them"),
        (PACKED, [[0, 1], [0, 1]], "has no segments, and the model needs them"),
        (FLOATS, np.zeros((0, 2)).tolist(), "has the shape [0], and the model reads Nx2"),
    ],
)  # fmt: skip
def test_values_that_a_model_cannot_use(spec: Spec, rows: list[list[float]], answer: str, workdir: Path) -> None:
    np.save("x.npy", np.array(rows))
    assert refusal("x.npy", spec).splitlines()[0] == answer


@pytest.mark.parametrize(
    ("lengths", "answer"),
    [
        ([1, 3], f"lengths has values that are no integers from 1 to 2{FIRST}"),
        ([1, 0], f"lengths has values that are no integers from 1 to 2{FIRST}"),
        ([1, 1.5], f"lengths has values that are no integers from 1 to 2{FIRST}"),
        ([1, 2, 2], "lengths has the shape [3], and [2] is needed"),
    ],
)
def test_lengths(lengths: list[float], answer: str, workdir: Path) -> None:
    np.savez("x.npz", inputs=np.zeros((2, 2)), lengths=np.array(lengths))
    assert refusal("x.npz", CUT) == answer
    assert refusal("x.npz", FLOATS) == "holds lengths, and the model was trained without them"
    np.savez("x.npz", inputs=np.zeros((2, 2)), lengths=np.array([1, 2]))
    assert read_inputs(Path("x.npz"), CUT)["lengths"].tolist() == [1, 2]


def test_floats_may_leave_the_range_that_training_saw_a_little(workdir: Path) -> None:
    np.save("x.npy", np.array([[-0.2, 1.2]]))
    assert read_inputs(Path("x.npy"), FLOATS)["inputs"].dtype == np.float32


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_pictures_get_the_channels_of_the_model(mode: str, workdir: Path) -> None:
    grey = Image.fromarray(np.array([[0, 255] * 2] * 4, np.uint8))
    grey.convert("RGB").convert(mode).save("x.png")
    assert read_inputs(Path("x.png"), BYTES)["inputs"].tolist() == [[[0, 255] * 2] * 4]
    assert read_inputs(Path("x.png"), COLOUR)["inputs"].shape == (1, 4, 4, 3)


def test_a_picture_of_16_bits(workdir: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save("x.png")
    assert "more than 8 bits" in refusal("x.png", BYTES)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("0;1\n1;0\n", "its separator is ';'\n  the separator must be a comma, and the decimal sign a point"),
        ("a,b\n0,1\n0,x\n", "row 3: 'x' is no number"),
        ("0,x\n0,1\n", "row 1: 'x' is no number"),
        ("0,1\n0,1,1\n", "row 2 has 3 values, and row 1 has 2"),
        ("a,b\n", "holds no examples"),
    ],
)
def test_tables(text: str, answer: str, workdir: Path) -> None:
    Path("x.csv").write_text(text)
    assert refusal("x.csv", FLOATS) == answer


def test_whole_numbers_of_a_table_are_as_in_training(workdir: Path) -> None:
    Path("x.csv").write_text("a,b\n0,16\n")
    assert read_inputs(Path("x.csv"), DARK)["inputs"].tolist() == [[0, 16]]
