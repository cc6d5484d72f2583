"""Predictions for tables as a user has them: columns by name, in any order, in the units of the target."""

from __future__ import annotations

import csv as files
import json
import math
from pathlib import Path

import numpy as np
import pytest
from command import typed
from support import metrics_of, run_fit
from tables import rows_of, write_csv, write_ratings, write_table

from bigtrain.config.errors import ConfigError, InputError
from bigtrain.data.ratings import ratings
from bigtrain.data.serialize import spec_from_json, spec_to_json
from bigtrain.data.table import csv
from bigtrain.data.table_reader import read_table
from bigtrain.inference.inputs import read_inputs
from bigtrain.inference.translate import translated


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the price, trained with nothing but defaults."""
    folder = tmp_path_factory.mktemp("table")
    path = write_table(folder / "set.csv", number=400)
    run_fit(folder / "run", "data=csv", f"data.path={path}", "steps=40epochs", "logger=[jsonl]")
    return folder / "run"


def test_prices_of_200_000_are_learnt_with_the_defaults_and_given_in_their_unit(run: Path, tmp_path: Path) -> None:
    rows = rows_of(50, seed=5)
    write_csv(tmp_path / "new.csv", [[row[2], row[1], row[0]] for row in rows], "code,color,width")
    done = typed(f"predict {run} --input {tmp_path}/new.csv --output {tmp_path}/out.csv")
    assert done.code == 0, done.err
    with open(tmp_path / "out.csv", encoding="utf-8") as file:
        found = [float(row["prediction"]) for row in files.DictReader(file)]
    prices = np.array([float(row[3]) for row in rows])
    known = np.array([bool(row[0]) for row in rows])  # where the width is missing, so is most of what can be known
    assert prices.std() > 30_000
    assert np.abs(np.array(found) - prices)[known].mean() < 6_000


def test_the_log_has_the_root_of_the_mean_and_the_loss_is_the_share_left_unexplained(run: Path) -> None:
    scale = spec_from_json(json.loads((run / "spec.json").read_text()), "spec").fields["targets"].scale
    lines = [line for line in metrics_of(run) if "validation/loss" in line]
    assert lines
    for line in lines:
        expected = math.sqrt(line["validation/loss"]) * scale
        assert line["validation/root_mean_squared_error"] == pytest.approx(expected, rel=1e-5)
    train = next(line for line in metrics_of(run) if "train/loss" in line)
    assert train["train/root_mean_squared_error"] == pytest.approx(math.sqrt(train["train/loss"]) * scale, rel=1e-5)


def test_rows_are_read_as_the_training_rows_were(tmp_path: Path) -> None:
    rows = rows_of()
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows)), validation=0, test=0)
    spec = spec_from_json(json.loads(spec_to_json(made.spec)), "spec")
    assert spec == made.spec or spec.reader is not None
    expected = made.splits["train"][np.arange(60)]
    write_csv(tmp_path / "new.csv", [[row[1], "?", row[2], row[0]] for row in rows], "color,more,code,width", ";")
    found = read_inputs(tmp_path / "new.csv", spec)
    assert set(found) == {"inputs", "categories"}
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name])
    write_csv(tmp_path / "one.csv", [["purple", "1", ""]], "color,code,width")
    only = read_table(tmp_path / "one.csv", spec)
    assert only["categories"].tolist() == [[0]]
    assert only["inputs"][0, 0] == 0


def test_rows_without_a_header(tmp_path: Path) -> None:
    rows = rows_of()
    made = csv(path=str(write_csv(tmp_path / "set.csv", rows, "")), validation=0, test=0, drop=(2,))
    expected = made.splits["train"][np.arange(60)]
    write_csv(tmp_path / "all.csv", rows, "")
    write_csv(tmp_path / "needed.csv", [row[:2] for row in rows], "")
    for name in ("all.csv", "needed.csv"):
        found = read_table(tmp_path / name, made.spec)
        np.testing.assert_array_equal(found["inputs"], expected["inputs"])
        np.testing.assert_array_equal(found["categories"], expected["categories"])
    write_csv(tmp_path / "three.csv", [row[:3] for row in rows], "")
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "three.csv", made.spec)
    assert str(caught.value).endswith(
        "three.csv: has 3 columns without names; the training file had 4\n"
        "  give all of them, or the 2 that the model reads"
    )


def test_users_and_items_of_a_file(tmp_path: Path) -> None:
    made = ratings(path=str(write_ratings(tmp_path / "ratings.csv")), validation=0, test=0)
    write_csv(tmp_path / "new.csv", [["1019", "u7"], ["1000", "nobody"]], "movieId,userId")
    users, items = (entry["values"] for entry in made.spec.reader.settings["columns"])  # type: ignore[union-attr]
    expected = [[users.index("u7") + 1, items.index("1019") + 1], [0, items.index("1000") + 1]]
    assert read_table(tmp_path / "new.csv", made.spec)["inputs"].tolist() == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (
            "colour,width,code\nred,1,2\n",
            "new.csv: has no column 'color', which the model reads\n  did you mean 'colour'?",
        ),
        ("a,b\n1,2\n", "new.csv: has no column 'width' and 2 more, which the model reads"),
        (
            "width,color,code\n1,red,2\nwide,red,1\n",
            "new.csv: row 3: 'wide' in column 'width' is no number\n"
            "  numbers are needed there; an empty cell is a missing value",
        ),
        ("width,color,code\n", "new.csv: has no rows below its header"),
    ],
)
def test_files_that_do_not_fit(text: str, answer: str, tmp_path: Path) -> None:
    made = csv(path=str(write_table(tmp_path / "set.csv")))
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_inputs(tmp_path / "new.csv", made.spec)
    assert str(caught.value).replace(f"{tmp_path}/", "") == answer


def test_arrays_are_no_table(tmp_path: Path) -> None:
    made = csv(path=str(write_table(tmp_path / "set.csv")))
    np.save(tmp_path / "new.npy", np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"can't read \.npy: the model was trained on a table"):
        read_inputs(tmp_path / "new.npy", made.spec)


def test_a_table_with_other_statistics_is_not_scored_as_if_it_had_the_runs(tmp_path: Path) -> None:
    ours = csv(path=str(write_table(tmp_path / "a.csv")))
    theirs = csv(path=str(write_csv(tmp_path / "b.csv", rows_of(seed=3))))
    assert translated(ours.spec, ours) is ours
    with pytest.raises(ConfigError) as caught:
        translated(ours.spec, theirs)
    assert str(caught.value) == (
        "data: the model was trained on a table with other columns, means or categories\n"
        "  bigtrain predict takes any table: it reads it with the statistics of the run"
    )


@pytest.mark.parametrize("change", ["deviation", "values", "columns", "header"])
def test_settings_of_a_stranger(change: str, tmp_path: Path) -> None:
    made = csv(path=str(write_table(tmp_path / "set.csv")))
    plain = json.loads(spec_to_json(made.spec))
    settings = plain["reader"]["settings"]
    if change == "deviation":
        settings["columns"][0]["deviation"] = 0
    elif change == "values":
        settings["columns"][1]["values"] = [["red"]]
    elif change == "columns":
        settings["columns"].pop()
    else:
        settings["format"]["header"] = "maybe"
    with pytest.raises(InputError, match=r"^spec\.json: the settings of its reader are no table's: "):
        read_table(tmp_path / "set.csv", spec_from_json(plain, "spec"))
