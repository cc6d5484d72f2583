"""Forecasting windows: what they hold, where they may not reach, their units, and a model that beats the naive one."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from command import typed
from support import run_fit

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.forecast import forecast
from bigtrain.data.spec import Dataset, Split

STEPS = 200


def counting(folder: Path) -> Path:
    """Two channels from which the step can be read off: t and 1000 - 2t, with a column of dates."""
    lines = ["when,rising,falling", *(f"2020-01-{step},{step},{1000 - 2 * step}" for step in range(STEPS))]
    (folder / "two.csv").write_text("\n".join(lines))
    return folder / "two.csv"


def rising(dataset: Dataset, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The steps that inputs and targets of each window lie at, worked out from the standardised values."""
    batch = dataset.splits[split][np.arange(len(dataset.splits[split]))]
    field = dataset.spec.fields["targets"]
    settings = dataset.spec.reader.settings  # type: ignore[union-attr]
    inputs = batch["inputs"][:, :, 0] * settings["deviation"][0] + settings["mean"][0]
    return inputs.round(2), (batch["targets"] * field.scale + field.shift).round(2)


def test_targets_are_the_steps_that_follow_and_no_window_crosses_a_border(tmp_path: Path) -> None:
    dataset = forecast(path=str(counting(tmp_path)), length=5, horizon=3, targets=("rising",))
    borders = {"train": (0, 140), "validation": (140, 160), "test": (160, 200)}
    for split, (first, last) in borders.items():
        inputs, targets = rising(dataset, split)  # type: ignore[arg-type]
        starts = np.arange(first, last - 7)
        np.testing.assert_allclose(inputs, starts[:, None] + np.arange(5), atol=0.02)
        np.testing.assert_allclose(targets, starts[:, None] + 5 + np.arange(3), atol=0.02)
    assert dataset.spec.fields["targets"].shape == (3,)


def test_stride_and_several_channels(tmp_path: Path) -> None:
    dataset = forecast(path=str(counting(tmp_path)), length=4, horizon=2, stride=6)
    assert dataset.spec.fields["targets"].shape == (2, 2)
    inputs, targets = rising(dataset, "train")
    np.testing.assert_allclose(inputs[:, 0], np.arange(0, 135, 6), atol=0.02)
    np.testing.assert_allclose(targets[:, 0], inputs[:, :1] + [[4, 5]], atol=0.05)
    np.testing.assert_allclose(targets[:, 1], 1000 - 2 * targets[:, 0], atol=0.2)


def test_statistics_are_those_of_training(tmp_path: Path) -> None:
    dataset = forecast(path=str(counting(tmp_path)), length=4, horizon=1, targets=("falling",))
    train = 1000 - 2.0 * np.arange(140)
    field = dataset.spec.fields["targets"]
    np.testing.assert_allclose([field.shift, field.scale], [train.mean(), train.std()])


def test_as_many_steps_ahead_as_behind_are_still_one_answer_an_example(tmp_path: Path) -> None:
    """A model for sequences would take [length] targets for one at each step."""
    dataset = forecast(path=str(counting(tmp_path)), length=3, horizon=3, targets=("rising",))
    assert dataset.spec.fields["targets"].shape == (1, 3)


def test_a_first_column_that_counts_is_time(tmp_path: Path) -> None:
    (tmp_path / "lynx.csv").write_text("\n".join([",lynx", *(f"{1821 + at},{at * at % 97}" for at in range(80))]))
    dataset = forecast(path=str(tmp_path / "lynx.csv"), length=4)
    assert dataset.spec.inputs.shape == (4, 1)
    assert "left out: the first column" in dataset.spec.notes["series"]


def test_mistakes_are_answered(tmp_path: Path) -> None:
    path = counting(tmp_path)
    with pytest.raises(ConfigError, match=r"data.targets: there is no channel 'risin'\n.*\n.*did you mean 'rising'"):
        forecast(path=str(path), targets=("risin",))
    with pytest.raises(DataError, match=r"its part for validation has 20 steps; .* take 51\n.*or data.validation=0"):
        forecast(path=str(path), length=50)
    with pytest.raises(DataError, match="has 200 steps; a window and its forecast take 301"):
        forecast(path=str(path), length=300)
    path.write_text(path.read_text().replace(",60,", ",sixty,"))
    with pytest.raises(DataError, match="row 62, column 'rising': 'sixty' is no number"):
        forecast(path=str(path))


def test_a_small_model_beats_repeating_the_last_value_and_forecasts_in_units(tmp_path: Path) -> None:
    steps = np.arange(600)
    noise = np.random.default_rng(0).normal(size=600)
    np.save(tmp_path / "wave.npy", 300 + 40 * np.sin(steps / 3) + noise)
    path = tmp_path / "wave.npy"
    result = run_fit(
        tmp_path / "run", "data=forecast", f"data.path={path}", "data.length=20", "data.horizon=4", "model=mlp",
        "model.widths=[32]", "steps=250", "eval_every=250", "log_every=50", "optimizer.learning_rate=5e-3",
    )  # fmt: skip
    naive = float(re.findall(r"[\d.]+", forecast(path=str(path), length=20, horizon=4).spec.notes["naive"])[0])
    assert 20 < naive < 40, "of the right units"
    assert result["test"]["mean_absolute_error"] < naive / 8
    done = typed(f"predict {tmp_path / 'run'} --input {path} --output {tmp_path / 'p.csv'}")
    assert done.code == 0, done.err
    [row] = csv.DictReader((tmp_path / "p.csv").open())
    expected = 300 + 40 * np.sin(np.arange(600, 604) / 3)
    np.testing.assert_allclose([float(value) for value in row.values()], expected, atol=6)


def test_a_hole_at_the_end_of_training_is_not_filled_from_what_comes_later(tmp_path: Path) -> None:
    values = np.where(np.arange(200) < 140, 1.0, 99.0)
    values[139] = np.nan
    np.save(tmp_path / "steps.npy", values)
    dataset = forecast(path=str(tmp_path / "steps.npy"), length=4)
    batch = dataset.splits["train"][np.arange(len(dataset.splits["train"]))]
    assert np.ptp(batch["inputs"]) == np.ptp(batch["targets"]) == 0
