"""Tables: what each column becomes, and that nothing but the training rows decides it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import rows_of, write_csv, write_parquet, write_table

from bigtrain.data.spec import Dataset, Split
from bigtrain.data.table import csv, parquet


def taken(made: Dataset, split: Split = "train") -> Mapping[str, np.ndarray]:
    source = made.splits[split]
    return source[np.arange(len(source))]


def settings(made: Dataset) -> dict[str, Any]:
    assert made.spec.reader is not None
    return {entry["name"]: entry for entry in made.spec.reader.settings["columns"]}


def test_numbers_are_standardised_and_categories_numbered(tmp_path: Path) -> None:
    made = csv(path=str(write_table(tmp_path / "set.csv")), categorical=("code",))
    assert {name: (field.kind, field.shape) for name, field in made.spec.fields.items()} == {
        "inputs": ("features", (2,)),  # the width, and where it is missing
        "categories": ("categories", (2,)),
        "targets": ("real", ()),
    }
    assert made.spec.fields["categories"].sizes == (4, 5)
    assert made.spec.sizes == {"train": 48, "validation": 6, "test": 6}
    arrays = taken(made)
    known = arrays["inputs"][:, 1] == 0
    np.testing.assert_allclose(arrays["inputs"][known, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(arrays["inputs"][known, 0].std(), 1, rtol=1e-5)
    assert (arrays["inputs"][~known, 0] == 0).all()
    assert (~known).any()
    assert arrays["categories"].min() == 1
    assert settings(made)["color"]["values"] == ["blue", "green", "red"]
    np.testing.assert_allclose(arrays["targets"].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(arrays["targets"].std(), 1, rtol=1e-5)
    assert made.spec.notes["columns"] == "1 numbers (1 with missing values); 2 categories: color 3, code 4"


def test_targets_in_their_units_are_those_of_the_file(tmp_path: Path) -> None:
    rows = rows_of()
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows)))
    field = made.spec.fields["targets"]
    found = np.concatenate([taken(made, split)["targets"] for split in made.splits])
    units = np.sort(found.astype(np.float64) * field.scale + field.shift)
    np.testing.assert_allclose(units, np.sort([float(row[3]) for row in rows]), rtol=1e-6)


def test_a_changed_test_row_changes_no_statistic(tmp_path: Path) -> None:
    rows = rows_of()
    before = csv(path=str(write_csv(tmp_path / "a.csv", rows)))
    held = before.splits["test"].indices  # type: ignore[attr-defined]
    trained = before.splits["train"].indices  # type: ignore[attr-defined]
    rows[held[0]] = ["1e6", "purple", "9", "1e9"]
    after = csv(path=str(write_csv(tmp_path / "b.csv", rows)))
    assert settings(after) == settings(before)
    assert after.spec.fields == before.spec.fields
    assert taken(after, "test")["categories"][0, 0] == 0  # a color that training didn't see
    rows[trained[0]][0] = "1e6"
    assert settings(csv(path=str(write_csv(tmp_path / "c.csv", rows)))) != settings(before)


def test_a_missing_category_is_a_category_if_training_had_one(tmp_path: Path) -> None:
    rows = [["a", "1.5"], ["b", "2.5"], ["NA", "3.5"], ["?", "4.5"]] * 10
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows, "x,y")), validation=0, test=0)
    assert settings(made)["x"]["values"] == ["a", "b", None]
    np.testing.assert_array_equal(taken(made)["inputs"][:4, 0], [1, 2, 3, 3])
    assert made.spec.inputs.kind == "categories"


def test_other_marks_of_missing_values(tmp_path: Path) -> None:
    rows = [["1", "0.5"], ["-999", "1.5"], ["3", "2.5"]]
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows, "x,y")), missing=(-999,), validation=0, test=0)
    assert settings(made)["x"] == {"name": "x", "kind": "number", "mean": 2.0, "deviation": 1.0, "missing": True}
    np.testing.assert_allclose(taken(made)["inputs"], [[-1, 0], [0, 1], [1, 0]])


def test_csv_and_parquet_give_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    ours = csv(path=str(write_table(tmp_path / "set.csv")), categorical=("code",))
    theirs = parquet(path=str(write_parquet(tmp_path / "set.parquet")), categorical=("code",))
    assert settings(ours) == settings(theirs)
    assert ours.spec.fields == theirs.spec.fields
    for split in ours.splits:
        for name, values in taken(ours, split).items():
            np.testing.assert_array_equal(values, taken(theirs, split)[name])


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("x,y\n1.5,2.5\n3.5,4.5\n", {}),
        ("x;y\n1,5;2,5\n3,5;4,5\n", {"decimal": "comma"}),
        ("x\ty\n1.5\t2.5\n3.5\t4.5\n", {}),
        ("x::y\n1.5::2.5\n3.5::4.5\n", {}),
        ("x|y\n1.5|2.5\n\n3.5|4.5\n", {}),
        ("\ufeffx, y\r\n1.5, 2.5\r\n3.5, 4.5\r\n", {}),
        ("a table\nof numbers\nx,y\n1.5,2.5\n3.5,4.5\n", {"skip": 2}),
        ("x y\n1.5 2.5\n3.5 4.5\n", {"delimiter": "space"}),
        (" x   y\n 1.5 2.5\n 3.5  4.5\n", {}),
    ],
)
def test_delimiters_and_decimal_signs(text: str, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(text, encoding="utf-8")
    made = csv(path=str(tmp_path / "set.csv"), validation=0, test=0, **options)
    assert settings(made)["x"]["mean"] == 2.5
    assert made.spec.fields["targets"].shift == 3.5


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["width,color", "1,red", "2,blue"], ["width", "color"]),
        (["1,red", "2,blue", "3,red"], ["0", "1"]),
        (["p,x", "e,x", "p,y", "e,y"], ["0", "1"]),  # a value of row 1 comes again
        (["cap,odor", "e,x", "p,y", "e,y"], ["cap", "odor"]),
    ],
)
def test_whether_row_1_is_a_header(lines: list[str], names: list[str], tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("\n".join(lines * 1) + "\n", encoding="utf-8")
    made = csv(path=str(tmp_path / "set.csv"), validation=0, test=0, target=1, target_kind="label")
    assert made.spec.reader is not None
    assert made.spec.reader.settings["names"] == names


KINDS = {
    "texts": (["yes", "no"] * 10, "label", ("no", "yes")),
    "few whole numbers": (["3", "10", "5"] * 8, "label", ("3", "5", "10")),
    "decimals": (["3.0", "10.0"] * 8, "real", None),
    "many whole numbers": ([str(at * at) for at in range(40)], "real", None),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_target_is(name: str, tmp_path: Path) -> None:
    cells, kind, classes = KINDS[name]
    rows = [[f"{at * 0.37:.2f}", cell] for at, cell in enumerate(cells)]
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows, "x,y")))
    assert (made.spec.fields["targets"].kind, made.spec.classes) == (kind, classes)


def test_what_a_target_is_can_be_said(tmp_path: Path) -> None:
    rows = [[f"{at * 0.37:.2f}", "yes" if at % 2 else "no", str(at % 3)] for at in range(30)]
    path = str(write_csv(tmp_path / "set.csv", rows, "x,a,y"))
    assert csv(path=path).spec.notes["target"] == "y: 3 whole numbers; for regression set data.target_kind=real"
    real = csv(path=path, target="y", target_kind="real").spec.fields["targets"]
    assert real.kind == "real"
    assert csv(path=path, target=-2).spec.classes == csv(path=path, target="a").spec.classes == ("no", "yes")
    assert csv(path=path, target=1).spec.classes == ("no", "yes")
    assert csv(path=path, target="none").spec.targets is None


def test_a_target_of_numbers_and_a_few_texts_is_classes_if_said_so(tmp_path: Path) -> None:
    rows = [[f"{at * 0.37:.2f}", ("0", "1", "2", "3 or more")[at % 4]] for at in range(40)]
    path = str(write_csv(tmp_path / "set.csv", rows, "x,y"))
    expected = ("0", "1", "2", "3 or more")
    assert (
        csv(path=path, target_kind="label").spec.classes == csv(path=path, categorical=("y",)).spec.classes == expected
    )


def test_classes_are_cut_in_proportion(tmp_path: Path) -> None:
    rows = [[f"{at * 0.37:.2f}", "rare" if at % 10 == 0 else "usual"] for at in range(200)]
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows, "x,y")))
    assert [np.bincount(taken(made, split)["targets"]).tolist() for split in ("train", "validation", "test")] == [
        [16, 144],
        [2, 18],
        [2, 18],
    ]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    rows = [
        [str(at), str(at + 7), "same", f"{at**2 * 0.1:.1f}", "" if at < 3 else f"{at * 0.3:.1f}"] for at in range(30)
    ]
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows, ",id,k,x,y")))
    assert made.spec.notes == {
        "unlabelled": "3 rows without y were left out",
        "columns": "2 numbers",
        "row number": "the first column, without a name, is left out",
        "row number?": "id only counts the rows; data.drop=[id] leaves it out",
        "left out": "k, of one value",
        "target": made.spec.notes["target"],
    }
    assert sum(made.spec.sizes.values()) == 27
    assert list(settings(csv(path=str(tmp_path / "set.csv"), drop=("id", 2)))) == ["x"]


def test_a_folder_has_a_file_a_split(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", rows_of(40))
    shuffled = [[row[3], row[1], row[0], row[2]] for row in rows_of(10, seed=1)]
    write_csv(tmp_path / "test.csv", [*shuffled, ["1.5", "purple", "", "3"]], "price,color,width,code")
    made = csv(path=str(tmp_path), validation=4)
    assert made.spec.sizes == {"train": 36, "validation": 4, "test": 11}
    last = taken(made, "test")
    assert last["categories"][-1, 0] == 0
    np.testing.assert_allclose(
        last["targets"][:-1] * made.spec.fields["targets"].scale + made.spec.fields["targets"].shift,
        [float(row[0]) for row in shuffled],
        rtol=1e-6,
    )
    assert settings(made)["width"]["missing"]


def test_many_chunks_are_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write_table(tmp_path / "set.csv"))
    whole = csv(path=path)
    monkeypatch.setattr("bigtrain.data.table_files.CHUNK", 7)
    cut = csv(path=path)
    assert settings(cut) == settings(whole)
    for name, values in taken(whole).items():
        np.testing.assert_array_equal(values, taken(cut)[name])


def test_a_table_knows_that_its_numbers_are_no_pixels(tmp_path: Path) -> None:
    """So a VAE with a Bernoulli likelihood, which needs values within [0, 1], is refused."""
    path = tmp_path / "numbers.csv"
    path.write_text("a,b\n" + "".join(f"{row}.5,{row * 0.25}\n" for row in range(30)))
    inputs = csv(path=str(path)).spec.inputs
    assert inputs.low is not None
    assert inputs.low < 0
