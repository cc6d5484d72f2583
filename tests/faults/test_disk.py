"""A disk that fails: one message, what was saved is intact, and the run goes on once there is room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from command import typed
from faults.counted import counted
from support import metrics_of, run_fit

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import RunError
from bigtrain.config.schema import CheckpointConfig
from bigtrain.run.directory import RunDirectory

RUN = (
    "model.widths=[8]", "batch_size=16", "logger=jsonl", "steps=12", "log_every=2", "eval_every=6",
    "checkpoint.every=4", "checkpoint.keep=9",
)  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    except OSError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip("mounting a small disk isn't permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_bsize


def state(step: int) -> dict[str, Any]:
    """2 MB that no compression shrinks."""
    return {"w": jnp.asarray(np.random.default_rng(step).random(1 << 19, np.float32))}


def test_a_full_disk_costs_no_checkpoint_and_no_space(disk: Path) -> None:
    checkpoints = Checkpoints(disk / "checkpoints", CheckpointConfig(keep=1, best=False))
    checkpoints.save(1, state(1), {})
    checkpoints.wait()
    for room in (0, 100, 600, 1500):  # kilobytes: it fails at the first file, and in the middle of the arrays
        (disk / "filler").write_bytes(bytes(max(0, free(disk) - 1024 * room)))
        before = free(disk)
        checkpoints.save(2, state(2), {})
        with pytest.raises(RunError, match="could not save: the disk is full; earlier checkpoints are intact"):
            checkpoints.wait()
        assert [entry.name for entry in (disk / "checkpoints").iterdir()] == ["000000001"]
        assert checkpoints.problem(1) is None
        assert free(disk) == before
        (disk / "filler").unlink()
    checkpoints.save(2, state(2), {})
    checkpoints.close()
    assert checkpoints.steps() == [2]
    assert checkpoints.problem(2) is None
    counted("the disk is full at a save", faults=4, lost=0)


def test_a_folder_that_has_vanished_is_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    checkpoints.save(1, state(1), {})
    checkpoints.wait()
    shutil.rmtree(tmp_path / "run")
    checkpoints.save(2, state(2), {})
    with pytest.raises(RunError, match=r"could not save: .*No such file or directory"):
        checkpoints.close()
    assert not (tmp_path / "run").exists()


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def at_result(patch: pytest.MonkeyPatch) -> None:
    write = RunDirectory.write
    patch.setattr(
        RunDirectory, "write", lambda self, name, text: (full if name == "result.json" else write)(self, name, text)
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("disk") / "whole"
    run_fit(run, *RUN)
    return run


def test_a_full_disk_at_the_result(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step is saved, and the same command writes what is missing."""
    with monkeypatch.context() as patch:
        at_result(patch)
        failed = typed(f"fit {' '.join(RUN)} run_dir={tmp_path / 'run'}")
    assert failed.code == 1
    assert "No space left on device" in failed.err
    assert "Traceback" not in failed.err
    assert RunDirectory(tmp_path / "run").saved()[-1] == 12
    assert RunDirectory(tmp_path / "run").result() is None
    assert typed(f"fit run_dir={tmp_path / 'run'}").code == 0
    assert metrics_of(tmp_path / "run") == metrics_of(whole)
    states = [Checkpoints(run / "checkpoints").meta(12)["state"] for run in (whole, tmp_path / "run")]
    assert states[0] == states[1]
    counted("the disk is full at result.json", faults=1, lost=0)


def test_curves_that_can_not_be_drawn_cost_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where matplotlib is set up for a screen that isn't there."""

    def broken(*given: object) -> bool:
        raise ValueError("'nonsense' is not a valid backend\nchoose another")

    monkeypatch.setattr("bigtrain.run.pictures.curves", broken)
    done = typed(f"fit {' '.join(RUN)} run_dir={tmp_path / 'run'}")
    assert done.code == 0
    assert "curves.png could not be written: 'nonsense' is not a valid backend\n" in done.err
    assert RunDirectory(tmp_path / "run").result() is not None


def test_a_full_disk_at_the_curves_costs_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigtrain.run.pictures.curves", full)
    done = typed(f"fit {' '.join(RUN)} run_dir={tmp_path / 'run'}")
    assert done.code == 0
    assert "curves.png could not be written: No space left on device\n" in done.err
    assert RunDirectory(tmp_path / "run").result() is not None
