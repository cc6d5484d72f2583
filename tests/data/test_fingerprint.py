"""A fingerprint changes exactly when the examples do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import typed

from bigtrain.data import fingerprint as module
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.fingerprint import changes, fingerprint, touched
from bigtrain.data.npz import npz
from bigtrain.data.spec import Dataset, Field
from bigtrain.data.text import text


def arrays(inputs: np.ndarray, targets: np.ndarray, rows: np.ndarray | None = None) -> Dataset:
    fields = {
        "inputs": Field(inputs.shape[1:], str(inputs.dtype), "features"),
        "targets": Field((), "int32", "label"),
    }
    splits = {"train": Arrays({"inputs": inputs, "targets": targets}, rows)}
    return dataset("some", fields, splits, classes=tuple("0123456789"))  # type: ignore[arg-type]


def large() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (3000, 28, 28), np.uint8), random.integers(0, 10, 3000).astype(np.int32)


def test_every_changed_value_and_every_moved_one_counts() -> None:
    inputs, targets = large()
    before, random = fingerprint(arrays(inputs, targets)), np.random.default_rng(1)
    assert changes(before, fingerprint(arrays(inputs.copy(), targets.copy()))) == []
    for _ in range(40):
        changed = inputs.copy()
        changed.reshape(-1)[random.integers(changed.size)] ^= 1 << int(random.integers(8))
        assert changes(before, fingerprint(arrays(changed, targets)))
        one, other = random.choice(3000, 2, replace=False)
        swapped = targets.copy()
        swapped[[one, other]] = swapped[[other, one]]
        same = targets[one] == targets[other]
        assert bool(changes(before, fingerprint(arrays(inputs, swapped)))) == (not same)
    near = targets.copy()
    near[[10, 11]] = near[10] + 1, near[11] - 1  # a sum over the row stays
    assert changes(before, fingerprint(arrays(inputs, near)))


def test_which_rows_there_are_counts() -> None:
    inputs, targets = large()
    before = fingerprint(arrays(inputs, targets, np.arange(2000)))
    now = fingerprint(arrays(inputs, targets, np.arange(1, 2001)))
    [line] = changes(before, now)
    assert line.startswith("train: 2,000 examples ")


def test_windows_over_one_text_cost_no_more_than_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of every window would be 65 times the text."""
    line, looked_at = "the quick brown fox jumps over the lazy dog. ", []
    sums = module._sums
    monkeypatch.setattr(module, "_sums", lambda array: looked_at.append(array.nbytes) or sums(array))
    (tmp_path / "a.txt").write_text(line * 400)
    every = text(path=str(tmp_path / "a.txt"), length=64, stride=1)
    before = fingerprint(every)
    assert sum(looked_at) <= 4 * 400 * len(line)
    (tmp_path / "a.txt").write_text(line * 399 + line.replace("fox", "ofx"))
    assert changes(before, fingerprint(text(path=str(tmp_path / "a.txt"), length=64, stride=1)))


def test_a_mapped_file_is_known_by_its_size_and_blocks_and_a_copy_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigtrain.data.npz.LARGE", 1)
    monkeypatch.setattr("bigtrain.data.npz.SMALL", 1)
    folder = tmp_path / "set"
    folder.mkdir()
    random = np.random.default_rng(0)
    np.save(folder / "inputs.npy", random.normal(size=(500, 40)).astype(np.float32))
    np.save(folder / "targets.npy", (np.arange(500) % 3).astype(np.int32))
    before = fingerprint(npz(path=str(folder)))
    assert before["train"]["written"], "it is mapped"
    shutil.copytree(folder, tmp_path / "copy")
    for path in (tmp_path / "copy").iterdir():
        os.utime(path, (1, 1))
    copied = fingerprint(npz(path=str(tmp_path / "copy")))
    assert changes(before, copied) == []
    assert touched(before, copied)
    np.save(tmp_path / "copy" / "inputs.npy", random.normal(size=(500, 40)).astype(np.float32))
    assert changes(before, fingerprint(npz(path=str(tmp_path / "copy"))))


def test_a_run_does_not_go_on_with_other_data(workdir: Path) -> None:
    inputs, targets = large()
    np.savez("a.npz", inputs=inputs[:200], targets=targets[:200])
    start = "fit data=npz data.path=a.npz model.widths=[4] batch_size=16 logger=jsonl run_dir=r"
    assert typed(f"{start} steps=3").code == 0
    targets[3] = (targets[3] + 1) % 10
    np.savez("a.npz", inputs=inputs[:200], targets=targets[:200])
    refused = typed(f"{start} steps=6")
    assert refused.code == 2
    first, *lines, hint = refused.err[refused.err.index("error: ") :].splitlines()
    assert first == "error: data: is not what the run had at step 3 (r/checkpoints/000000003)"
    assert lines
    assert all(" examples " in line and " there, " in line for line in lines)
    assert hint == "  bring the data back as it was, or train in a new run_dir"
