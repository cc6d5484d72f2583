"""What broke first in a run of several processes: all look for it together, and say what one process says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import bigtrain
from processes import SMALL, launch
from support import metrics_of

from bigtrain.data.sampler import Order
from bigtrain.run.directory import RunDirectory

EXAMPLES, BATCH = 80, 16
FAULTY = '''
"""Vectors of three classes, one of which has a number that is none."""

import numpy as np

from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.spec import Field


def faulty(*, index: int):
    """96 examples."""
    inputs = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
    inputs[index, 0] = np.nan
    columns = {"inputs": inputs, "targets": np.arange(96, dtype=np.int32) % 3}
    fields = {"inputs": Field((4,), "float32", "features"), "targets": Field((), "int32", "label")}
    splits = {"train": slice(0, 80), "validation": slice(80, 96)}
    sources = {name: Arrays({key: column[at] for key, column in columns.items()}) for name, at in splits.items()}
    return dataset("faulty", fields, sources, classes=("a", "b", "c"))
'''


def diverging(folder: Path, *options: str, mesh: str) -> tuple[list[str], list[str]]:
    """What the run says at its end, by two processes and by one; each has written the same report."""
    given = (*SMALL[1:], "steps=8", "checkpoint.every=1", *options)
    together = launch("fit", *given, f"mesh={mesh}", f"run_dir={folder / 'two'}", "-n", "2")
    alone = bigtrain("fit", *given, f"run_dir={folder / 'one'}")
    assert (together.returncode, alone.code) == (1, 1), together.stderr + alone.err
    assert "processes  2 (bigtrain launch" in together.stderr
    reports = [json.loads((folder / name / "diverged.json").read_text()) for name in ("two", "one")]
    assert reports[0] == reports[1]
    assert (RunDirectory(folder / "two").saved(), RunDirectory(folder / "one").saved()) == ([1], [1])
    assert metrics_of(folder / "two")[-1]["step"] == 1, "the step before the fault is the last that is logged"
    assert together.stderr.count("training diverged") == 1, "one process says it"
    lines = [text.splitlines() for text in (together.stderr, alone.err)]
    starts = [next(at for at, line in enumerate(said) if "training diverged" in line) for said in lines]
    return lines[0][starts[0] :], lines[1][starts[1] :]


@pytest.mark.parametrize("mesh", ["fsdp", pytest.param("data", marks=pytest.mark.long)])
def test_the_first_layer_that_is_not_finite_is_named(mesh: str, tmp_path: Path) -> None:
    """A rate that is far too large: the parameters after the first step are finite, what they give isn't."""
    options = ("model.widths=[64,64]", "optimizer=sgd", "optimizer.learning_rate=1e30")
    together, alone = diverging(tmp_path, *options, mesh=mesh)
    assert together[0].startswith("error: training diverged: the loss of step 2 is not finite; checkpoints up to ")
    assert together[1] == "  first: the output of hidden.1"
    assert together[2].startswith("  its batch: examples ")
    assert together[: len(alone)] == alone
    assert len(alone) == 5


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data", pytest.param("fsdp", marks=pytest.mark.long)])
def test_an_example_of_the_second_process_is_named_by_its_place_in_the_split(
    mesh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process reads its half of a batch; the broken example is in the second one's."""
    batches = Order(EXAMPLES, BATCH, 0).batches(0, 2)
    index = int(batches[1, BATCH // 2 + 3])
    assert index not in batches[0], "the first step is fine"
    (tmp_path / "one_faulty_example").mkdir()
    (tmp_path / "one_faulty_example" / "__init__.py").write_text(FAULTY.lstrip())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "faulty.yaml").write_text("_target_: one_faulty_example.faulty\n")
    monkeypatch.chdir(tmp_path)  # the package is found in the working directory
    where = ("--config-dir", str(tmp_path), "--trust", "one_faulty_example", "data=faulty", f"data.index={index}")
    options = (*where, "model.widths=[64,64]", "placement=stream")
    together, alone = diverging(tmp_path, *options, mesh=mesh)
    assert together[1] == f"  first: the data itself: inputs, in example {index}"
    assert str(index) in together[2].split(":")[1]
    assert together[: len(alone)] == alone
    assert json.loads((tmp_path / "two" / "diverged.json").read_text())["examples"] == batches[1].tolist()
