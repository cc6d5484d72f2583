"""Ratings: three columns of a file, whatever they are called and wherever they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import low_rank, write_ratings

from bigtrain.config.errors import ConfigError, InputError
from bigtrain.data.ratings import ratings
from bigtrain.data.spec import Dataset

ROWS = [("7", "30", "5", "100"), ("7", "31", "3", "200"), ("8", "30", "1", "300"), ("9", "32", "4", "50")]


def table(made: Dataset, split: Any = "train") -> list[tuple[str, str, float]]:
    """The rows of a split in the ids and units of the file."""
    assert made.spec.reader is not None
    users, items = ([None, *entry["values"]] for entry in made.spec.reader.settings["columns"])
    found = made.splits[split][np.arange(len(made.splits[split]))]
    field = made.spec.fields["targets"]
    return [
        (users[user], items[item], round(float(target) * field.scale + field.shift, 4))
        for (user, item), target in zip(found["inputs"], found["targets"], strict=True)
    ]


WANTED = [("7", "30", 5.0), ("7", "31", 3.0), ("8", "30", 1.0), ("9", "32", 4.0)]
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "u.data": ("\n".join("\t".join(row) for row in ROWS), {}),
    "ratings.dat": ("\n".join("::".join(row) for row in ROWS), {}),
    "ratings.csv": ("userId,movieId,rating,timestamp\n" + "\n".join(",".join(row) for row in ROWS), {}),
    "other order": ("rating,when,movie,user\n" + "\n".join(f"{r},{t},{i},{u}" for u, i, r, t in ROWS), {}),
    "by position": ("\n".join(f"{r},{i},{u}" for u, i, r, t in ROWS), {"user": -1, "item": 1, "rating": 0}),
    "by name": (
        "a,b,c\n" + "\n".join(f"{i},{r},{u}" for u, i, r, t in ROWS),
        {"user": "c", "item": "a", "rating": "b"},
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path) -> None:
    text, options = FORMATS[name]
    (tmp_path / name).write_text(text + "\n")
    made = ratings(path=str(tmp_path / name), validation=0, test=0, **options)
    assert table(made) == WANTED
    assert made.spec.inputs.kind == "categories"
    assert made.spec.inputs.sizes == (4, 4)
    assert (made.spec.fields["targets"].kind, made.spec.fields["targets"].shift) == ("real", 3.25)


def test_the_newest_are_held_out_and_ids_that_only_they_have_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("\n".join("\t".join(row) for row in ROWS))
    made = ratings(path=str(tmp_path / "u.data"), time=3, validation=1, test=1)
    assert table(made) == [WANTED[0], WANTED[3]]
    assert table(made, "validation") == [("7", None, 3.0)]
    assert table(made, "test") == [(None, "30", 1.0)]
    assert made.spec.fields["targets"].shift == 4.5


def test_random_ratings_are_held_out_without_times(tmp_path: Path) -> None:
    made = ratings(path=str(write_ratings(tmp_path / "ratings.csv")))
    assert made.spec.sizes == {"train": 480, "validation": 60, "test": 60}
    found = [row for split in made.splits for row in table(made, split)]
    matrix = low_rank()
    assert len(set(found)) == 600
    for user, item, rating in found:
        assert rating == pytest.approx(matrix[int(user[1:]), int(item) - 1000], abs=2e-4)


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("1,2\n3,4\n", {}, "data.rating: no column is called '2'\n  allowed: 0, 1"),
    (
        "user,item,rating\n1,2,5\n1,3,good\n",
        {},
        "r.csv: row 3: 'good' in column 'rating' is no number",
    ),
    (
        "user,item,rating\n1,2,5\n",
        {"item": "user"},
        "data: one column has two meanings: user 'user', item 'user', rating 'rating'\n"
        "  set data.user, data.item, data.rating",
    ),
    (
        "user,item,rating\n1,2,5\n1,3,4\n",
        {"time": "when"},
        "data.time: no column is called 'when'\n  allowed: user, item, rating",
    ),
    (
        "user,item,rating\n1,2,5\n1,3,4\n",
        {"validation": 0, "test": 0},
        "r.csv: all its ratings are of one user or of one item",
    ),
    (
        "user,item,rating,when\n1,2,5,1\n1,3,4,x\n",
        {"time": "when"},
        "r.csv: row 3: 'x' in column 'when' is no number",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "answer"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(text: str, options: dict[str, Any], answer: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        ratings(path=str(tmp_path / "r.csv"), **options)
    found = str(caught.value).replace(f"{tmp_path}/", "")
    assert found == answer if "\n" in answer else found.split("\n  ")[0] == answer


def test_no_file_is_given() -> None:
    with pytest.raises(InputError) as caught:
        ratings()
    assert str(caught.value) == (
        "data.path: no file is given\n"
        "  for example: bigtrain fit data=ratings data.path=ratings.csv model=factorization"
    )


def test_a_header_that_names_no_role_is_no_ratings_file(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("passenger,survived,class\n" + "".join(f"{row},{row % 2},{row % 3}\n" for row in range(20)))
    with pytest.raises(ConfigError, match="no column is called user, item or rating"):
        ratings(path=str(path))
    assert ratings(path=str(path), user="passenger", item="class", rating="survived").spec.targets
