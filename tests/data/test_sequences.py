"""Time series of different lengths: every way to write them gives the same set, scaled by training alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import typed
from support import run_fit

from bigtrain.config.errors import DataError
from bigtrain.data.sequences import sequences
from bigtrain.data.serialize import spec_from_json, spec_to_json
from bigtrain.data.series_reader import filled, read_new_series
from bigtrain.data.spec import Dataset

LENGTHS = np.random.default_rng(0).integers(3, 9, 40)


def examples() -> tuple[list[np.ndarray], list[str]]:
    """Forty examples of two channels; the class is the sign of the first channel's slope."""
    random = np.random.default_rng(1)
    labels = [("down", "up")[at % 2] for at in range(40)]
    values = []
    for label, length in zip(labels, LENGTHS, strict=True):
        slope = 2.0 if label == "up" else -2.0
        noise = random.normal(size=(2, length))
        values.append(np.stack([slope * np.arange(length) + noise[0], 50 + 9 * noise[1]], axis=1))
    return [value.round(4) for value in values], labels


def write_ts(path: Path, values: list[np.ndarray], labels: list[str]) -> Path:
    head = "@problemName made\n@timeStamps false\n@classLabel true down up\n@data\n"
    channels = [[",".join(map(str, channel)) for channel in value.T] for value in values]
    lines = [":".join([*texts, label]) for texts, label in zip(channels, labels, strict=True)]
    path.write_text(head + "\n".join(lines) + "\n")
    return path


def written(tmp_path: Path) -> dict[str, Path]:
    """The same set as .ts, as padded arrays and as rows below each other."""
    values, labels = examples()
    padded = np.full((40, 8, 2), 7.0)  # what stands beyond a length must not matter
    for row, value in enumerate(values):
        padded[row, : len(value)] = value
    np.savez(tmp_path / "padded.npz", x=padded, lengths=LENGTHS, y=np.array(labels))
    np.savez(tmp_path / "ragged.npz", values=np.concatenate(values), lengths=LENGTHS, y=np.array(labels))
    write_ts(tmp_path / "made.ts", values, labels)
    return {kind: tmp_path / kind for kind in ("padded.npz", "ragged.npz", "made.ts")}


def gathered(dataset: Dataset, split: Any) -> dict[str, np.ndarray]:
    return dataset.splits[split][np.arange(len(dataset.splits[split]))]


def test_every_form_is_the_same_set(tmp_path: Path) -> None:
    sets = [sequences(path=str(path)) for path in written(tmp_path).values()]
    first = sets[0]
    assert first.spec.fields["inputs"].shape == (8, 2)
    assert first.spec.classes == ("down", "up")
    assert dict(first.spec.sizes) == {"train": 28, "validation": 4, "test": 8}
    for other in sets[1:]:
        assert other.spec.fields == first.spec.fields
        for split in first.splits:
            for name, array in gathered(first, split).items():
                np.testing.assert_array_equal(gathered(other, split)[name], array)


def test_channels_are_scaled_by_the_valid_steps_of_training(tmp_path: Path) -> None:
    dataset = sequences(path=str(written(tmp_path)["padded.npz"]))
    batch = gathered(dataset, "train")
    exists = np.arange(8) < batch["lengths"][:, None]
    np.testing.assert_allclose(batch["inputs"][exists].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(batch["inputs"][exists].std(0), 1, rtol=1e-5)
    assert (batch["inputs"][~exists] == 0).all()
    assert abs(gathered(dataset, "test")["inputs"].mean()) > 1e-4, "the test split is not centred on itself"
    plain = gathered(sequences(path=str(tmp_path / "made.ts"), standardize=False), "train")
    values, _ = examples()
    assert any(np.allclose(plain["inputs"][0][: len(value)], value) for value in values)


def test_every_class_is_in_every_split(tmp_path: Path) -> None:
    dataset = sequences(path=str(written(tmp_path)["made.ts"]))
    for split in dataset.splits:
        assert np.bincount(gathered(dataset, split)["targets"]).tolist() == [len(dataset.splits[split]) // 2] * 2


def test_missing_values_are_interpolated_over_time() -> None:
    example = np.array([[np.nan, np.nan], [1.0, np.nan], [np.nan, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(filled(example), [[1, 0], [1, 0], [2, 0], [3, 0], [3, 0]])


def test_real_targets_keep_their_units(tmp_path: Path) -> None:
    targets = np.random.default_rng(2).normal(100, 20, 30)
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(3).normal(size=(30, 6)), y=targets)
    dataset = sequences(path=str(tmp_path / "a.npz"))
    field = dataset.spec.fields["targets"]
    assert field.kind == "real"
    assert "lengths" not in dataset.spec.fields
    stored = np.concatenate([gathered(dataset, split)["targets"] for split in dataset.splits])
    np.testing.assert_allclose(np.sort(stored * field.scale + field.shift), np.sort(targets), rtol=1e-5)
    train = gathered(dataset, "train")["targets"]
    np.testing.assert_allclose([train.mean(), train.std()], [0, 1], atol=1e-5)


def test_a_test_file_is_the_test_split(tmp_path: Path) -> None:
    values, labels = examples()
    write_ts(tmp_path / "X_TRAIN.ts", values[:30], labels[:30])
    write_ts(tmp_path / "X_TEST.ts", values[30:], labels[30:])
    dataset = sequences(path=str(tmp_path))
    assert dict(dataset.spec.sizes) == {"train": 26, "validation": 4, "test": 10}
    assert gathered(dataset, "test")["lengths"].tolist() == LENGTHS[30:].tolist()


def make(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "bad.npz", **arrays)
    return tmp_path / "bad.npz"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array([[1.0], [2.0, 3.0]], object)}, "holds pickled Python objects, which are never loaded"),
        ({"a": np.zeros((3, 4))}, "none of its arrays (a) is called x or values"),
        ({"x": np.zeros(5)}, "the values have the shape [5]"),
        ({"x": np.zeros((3, 4)), "lengths": np.array([1, 2, 9])}, "lengths has 3 entries up to 9"),
        ({"x": np.zeros((3, 4)), "y": np.zeros(2, int)}, "has 3 examples, and 2 targets"),
        ({"x": np.array([["a", "b"]])}, "not numbers"),
    ],
)
def test_a_broken_archive_is_answered(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        sequences(path=str(make(tmp_path, **arrays)))
    assert message in str(caught.value)


def test_a_label_that_the_header_does_not_list_is_refused(tmp_path: Path) -> None:
    values, _ = examples()
    with pytest.raises(DataError, match="the label 'sideways' is none of the classes down, up"):
        sequences(path=str(write_ts(tmp_path / "a.ts", values[:3], ["up", "down", "sideways"])))


def test_new_files_are_read_as_the_training_set_was(tmp_path: Path) -> None:
    paths = written(tmp_path)
    dataset = sequences(path=str(paths["made.ts"]), validation=0.0, test=0.0)
    spec = spec_from_json(json.loads(spec_to_json(dataset.spec)), "spec.json")
    for path in paths.values():
        found = read_new_series(path, spec)
        for name in ("inputs", "lengths"):
            np.testing.assert_array_equal(found[name], gathered(dataset, "train")[name])
    np.save(tmp_path / "other.npy", np.zeros((2, 5, 3)))
    with pytest.raises(DataError, match="example 0 has 3 channels, and the model reads 2"):
        read_new_series(tmp_path / "other.npy", spec)
    np.save(tmp_path / "long.npy", np.zeros((2, 9, 2)))
    with pytest.raises(DataError, match="example 0 has 9 steps, and the model reads up to 8"):
        read_new_series(tmp_path / "long.npy", spec)


def test_an_rnn_learns_them_and_predicts_for_a_file(tmp_path: Path) -> None:
    path = written(tmp_path)["made.ts"]
    result = run_fit(
        tmp_path / "run", "data=sequences", f"data.path={path}", "model=rnn", "model.cell=gru", "model.width=12",
        "batch_size=14", "steps=80", "eval_every=80", "log_every=40", "optimizer.learning_rate=0.02",
    )  # fmt: skip
    assert result["test"]["accuracy"] >= 0.9
    done = typed(f"predict {tmp_path / 'run'} --input {path} --output {tmp_path / 'p.csv'}")
    assert done.code == 0, done.err
    said = [line.split(",")[0] for line in (tmp_path / "p.csv").read_text().splitlines()[1:]]
    assert np.mean([one == other for one, other in zip(said, examples()[1], strict=True)]) >= 0.9
