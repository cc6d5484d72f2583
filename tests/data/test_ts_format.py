"""The .ts format: what is read, and how a broken file is answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bigtrain.config.errors import DataError
from bigtrain.data.ts_format import pair_of, read_ts

HEADER = "# a comment\n@problemName Made\n@timeStamps false\n@univariate false\n@classLabel true up down\n@data\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_channels_lengths_missing_values_and_labels(tmp_path: Path) -> None:
    found = read_ts(write(tmp_path / "a.ts", f"{HEADER}1,2,3:4,?,6:up\n\n-1e3, 0.5:7,8: down\n"))
    assert found.targets == ["up", "down"]
    assert found.header.classes == ("up", "down")
    np.testing.assert_array_equal(found.values[0], [[1, 4], [2, np.nan], [3, 6]])
    np.testing.assert_array_equal(found.values[1], [[-1000, 7], [0.5, 8]])


def test_tags_have_any_case_and_targets_may_be_real_or_absent(tmp_path: Path) -> None:
    found = read_ts(write(tmp_path / "a.ts", "%\n@PROBLEMNAME x\n@targetLabel TRUE\n@Data\n1,2:0.5\n3,4:-2\n"))
    assert (found.header.real, found.targets) == (True, ["0.5", "-2"])
    found = read_ts(write(tmp_path / "b.ts", "@classlabel false\n@data\n1,2:3,4\n"))
    assert found.targets is None
    assert found.values[0].shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3\n", "line 1: a tag or @data is expected, not '1,2,3'"),
        ("@problemName x\n", "has no line @data"),
        (HEADER, "holds no examples"),
        (HEADER.replace("timeStamps false", "timeStamps true") + "(0,1):up\n", "has time stamps, which aren't read"),
        (f"{HEADER}1,x:2,3:up\n", "line 7, channel 1: 'x' is no number"),
        (f"{HEADER}1,2:3:up\n", "line 7: channel 2 has 1 steps, channel 1 has 2"),
        (f"{HEADER}1,2:3,4:up\n5,6:up\n", "line 8 has 1 channels, and the first example 2"),
    ],
)
def test_a_broken_file_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_ts(write(tmp_path / "broken.ts", text))
    assert message in str(caught.value)
    assert "broken.ts" in str(caught.value)


def test_a_pair_is_found_by_either_file_or_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "Gun"
    folder.mkdir()
    train, test = (write(folder / f"Gun_{split}.ts", HEADER) for split in ("TRAIN", "TEST"))
    for path in (folder, train, test):
        assert pair_of(path) == {"train": train, "test": test}
    other = write(folder / "Gun_eq_TRAIN.ts", HEADER)
    assert pair_of(folder)["train"] == train, "of several, the one called like the folder"
    assert pair_of(other) == {"train": other}


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.ts file"):
        pair_of(tmp_path)
    lonely = write(tmp_path / "a_TEST.ts", HEADER)
    with pytest.raises(DataError, match=r"is for testing, and there is no a_TRAIN\.ts"):
        pair_of(lonely)
    for name in ("b_TRAIN.ts", "c_TRAIN.ts"):
        write(tmp_path / name, HEADER)
    with pytest.raises(DataError, match=r"holds several problems: b_TRAIN.ts, c_TRAIN.ts\n.*data.path="):
        pair_of(tmp_path)
