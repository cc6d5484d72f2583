"""Tables that can't be used: one clear answer each, with the row and what to set."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest
from tables import write_csv, write_table

from bigtrain.config.errors import ConfigError, InputError
from bigtrain.data.table import csv, parquet

DELIMITED = "put a value that holds the delimiter in double quotes, or set data.delimiter"
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("", {}, "t.csv: is empty\n  data.path names a CSV file"),
    ("x,y\n", {}, "t.csv: has no rows below its header"),
    (
        "x,y\n1,2\n3,4,5\n",
        {},
        f"t.csv: row 3 has 3 values, and row 1 has 2\n  {DELIMITED}",
    ),
    (
        "table of 1984\n1,2\n3,4\n",
        {},
        "t.csv: row 2 has 2 values, and row 1 has 1\n  if row 1 is no row of the table: data.skip=1; else " + DELIMITED,
    ),
    (
        "x,x,y\n1,2,3\n",
        {},
        "t.csv: two columns are called 'x'\n  rename one of them; or data.header=no if row 1 is no header",
    ),
    (
        "x,y\n1,2\n1,2\nabc,3\n4,5\n",
        {},
        "t.csv: row 4: 'abc' in column 'x' is no number\n  set data.missing=[…] if it stands for a missing value, or "
        "data.categorical=[x] if it is a category",
    ),
    (
        'x,y\n"1,5",2\n2,3\n3,4\n',
        {},
        "t.csv: row 2: '1,5' in column 'x' is no number\n  set data.decimal=comma if it is a decimal comma",
    ),
    (
        "x,y\n1,2\ninf,3\n",
        {},
        "t.csv: row 3: 'inf' in column 'x' is not finite\n  an empty cell stands for a missing value",
    ),
    (
        "x,y\n1,2\n2,3\n",
        {"target": "prise"},
        "data.target: no column is called 'prise'\n  allowed: x, y",
    ),
    ("x,y\n1,2\n2,3\n", {"target": 2}, "data.target: no column is called '2'\n  allowed: x, y"),
    (
        "x,y\n1,2\n2,3\n",
        {"drop": ("y",)},
        "data.drop: 'y' is the target\n  data.target=… names another column",
    ),
    (
        "x\n1\n2\n",
        {},
        "t.csv: its rows have no other value than the target\n  set data.delimiter if they are delimited otherwise, or "
        "data.target=none for a set without a target",
    ),
    (
        "x,y\n1,\n2,NA\n",
        {},
        "t.csv: no row has a value of the target 'y'\n  data.target=… names another column, or none",
    ),
    (
        "x,y\n1,2\n1,3\n",
        {"validation": 0, "test": 0, "target_kind": "real"},
        "t.csv: no column is left to predict from\n  is data.delimiter right?",
    ),
    (
        'x,y\n"1,2\n3,4\n',
        {"header": "yes", "delimiter": "comma"},
        "t.csv: row 2 has 1 value, and row 1 has 2\n  if row 1 is no row of the table: data.skip=1; else " + DELIMITED,
    ),
    (
        "x,day,y\n" + "".join(f"{at}.5,2024-01-{at:02d},{at}.5\n" for at in range(1, 20)),
        {},
        "t.csv: column 'day' holds dates, such as '2024-01-01'\n  leave it out: data.drop=[day]; or take it as it is: "
        "data.categorical=[day]",
    ),
    (
        "x;y\n" + "".join(f"{at % 3},5;{at}\n" for at in range(30)),
        {},
        "t.csv: column 'x' holds numbers with a comma, such as '0,5'\n  set data.decimal=comma if it is a decimal "
        "comma; else data.categorical=[x] or data.drop=[x]",
    ),
    (
        "x;y\n" + "".join(f"{at};{at % 3},5\n" for at in range(30)),
        {},
        "t.csv: column 'y' holds numbers with a comma, such as '0,5'\n  set data.decimal=comma if it is a decimal "
        "comma; else data.categorical=[y] or data.drop=[y]",
    ),
    (
        "x,name,y\n" + "".join(f"{at}.5,name {at},{at}.5\n" for at in range(50)),
        {"validation": 0, "test": 0},
        "t.csv: column 'name' has 50 distinct texts in 50 rows, too many for categories\n  leave it out: "
        "data.drop=[name]; or take it as it is: data.categorical=[name]",
    ),
    (
        "x,y\n" + "".join(f"{at}.5,name {at}\n" for at in range(50)),
        {},
        "t.csv: the target 'y' has 50 distinct values in 50 rows, too many for classes\n  data.target=… names another "
        "column; data.target_kind=real regresses",
    ),
    (
        "x,y\n1,yes\n2,no\n3,no\n",
        {"target_kind": "real"},
        "t.csv: row 2: 'yes' in column 'y' is no number\n  numbers are needed there; an empty cell is a missing value",
    ),
]


@pytest.mark.parametrize(("text", "options", "answer"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(text: str, options: dict[str, Any], answer: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        csv(path=str(tmp_path / "t.csv"), **options)
    assert str(caught.value).replace(f"{tmp_path}/", "") == answer


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    def answer(path: Path, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            csv(path=str(path), **options)
        return str(caught.value).replace(f"{tmp_path}/", "").split("\n  ")[0]

    assert answer(tmp_path / "no.csv") == "no.csv: no such file"
    (tmp_path / "folder").mkdir()
    assert answer(tmp_path / "folder").endswith("folder: the folder has no train.csv")
    (tmp_path / "latin.csv").write_bytes("x,größe\n1,2\n2,3\n".encode("latin-1"))
    assert answer(tmp_path / "latin.csv") == "latin.csv: is not utf-8: invalid start byte"
    assert csv(path=str(tmp_path / "latin.csv"), encoding="latin-1", target=0, validation=0, test=0).spec.reader
    assert answer(tmp_path / "latin.csv", encoding="latin-9x") == "data.encoding: no encoding is called 'latin-9x'"
    (tmp_path / "nul.csv").write_bytes(b"x,y\n1,\0\n")
    assert answer(tmp_path / "nul.csv") == "nul.csv: is no text: it has NUL bytes"
    packed = gzip.compress(write_table(tmp_path / "t.csv").read_bytes())
    (tmp_path / "t.csv.gz").write_bytes(packed)
    assert csv(path=str(tmp_path / "t.csv.gz")).spec.sizes["train"] == 48
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-20])
    assert answer(tmp_path / "cut.csv.gz").startswith("cut.csv.gz: is not a whole gzip file")
    with pytest.raises(ConfigError, match=r"data\.path: no file is given"):
        csv()


def test_a_split_without_a_column(tmp_path: Path) -> None:
    write_table(tmp_path / "train.csv")
    write_csv(tmp_path / "test.csv", [["1", "red", "2"]], "width,colour,code")
    with pytest.raises(InputError) as caught:
        csv(path=str(tmp_path))
    assert str(caught.value).endswith(
        "test.csv: has no column 'color', and the training file has\n  did you mean 'colour'?"
    )


def test_parquet_without_pyarrow_and_of_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "t.parquet")
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=r"t\.parquet: is no whole Parquet file: "):
        parquet(path=str(path))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError) as caught:
        parquet(path=str(path))
    assert str(caught.value).endswith(
        "Parquet is read by pyarrow, which isn't installed\n  pip install 'bigtrain[tables]'"
    )


def test_parquet_columns_that_are_neither_numbers_nor_texts(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    table = pyarrow.table({"tags": [["a"], ["b"]], "y": [1.0, 2.0]})
    files.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError) as caught:
        parquet(path=str(tmp_path / "t.parquet"))
    assert str(caught.value).endswith(
        "column 'tags' holds list<element: string>, which is neither a number nor a text\n"
        "  leave it out: data.drop=[tags]"
    )
