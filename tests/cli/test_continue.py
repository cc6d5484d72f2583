"""Continuing a run from the command line: what counts, what is refused, what is written down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from command import typed

from bigtrain.run.directory import RunDirectory

ROOT = Path(__file__).parent.parent.parent
START = "fit model=vae steps=4 log_every=1 eval_every=2 checkpoint.every=2 batch_size=16 logger=jsonl run_dir=r"


@pytest.fixture
def run(workdir: Path) -> Path:
    assert typed(START).code == 0
    return workdir / "r"


def test_the_directory_alone_is_enough_and_what_is_typed_is_remembered(run: Path) -> None:
    assert "is finished: 4 steps" in typed("fit run_dir=r").err
    assert typed("fit run_dir=r steps=6").code == 0
    assert RunDirectory(run).config()["steps"] == 6
    assert "is finished: 6 steps" in typed("fit run_dir=r").err


def test_a_dry_run_and_the_config_are_those_of_the_run(run: Path) -> None:
    assert "VAE:" in typed("fit run_dir=r --dry-run").err
    assert "bigtrain.models.vae.VAE" in typed("fit run_dir=r --cfg").out
    assert typed("fit run_dir=r model=mlp --dry-run").code == 2


def test_another_mesh_does_not_get_the_sizes_of_the_one_before(workdir: Path) -> None:
    mesh = "mesh=fsdp_tensor mesh.tensor=2 mesh.simulate=8"
    assert typed(f"fit steps=2 batch_size=16 logger=jsonl run_dir=m {mesh}").code == 0
    same, other = (yaml.safe_load(typed(f"fit run_dir=m {more} --cfg").out)["mesh"] for more in ("", "mesh=data"))
    assert (same["fsdp"], same["tensor"], same["simulate"]) == (-1, 2, 8)
    assert (other["data"], other["fsdp"], other["tensor"], other["simulate"]) == (-1, 1, 1, 8)


def test_fewer_steps_than_done_are_refused(run: Path) -> None:
    done = typed("fit run_dir=r steps=3")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: steps: 3 is less than the 4 steps that r has done",
    )


def test_another_length_of_a_schedule_is_said(workdir: Path) -> None:
    assert typed(START.replace("model=vae", "schedule=cosine")).code == 0
    assert "note: the cosine schedule now spans 6 steps instead of 4" in typed("fit run_dir=r steps=6").err


def test_the_environment_is_not_read_for_a_stored_override(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    overrides = json.loads((run / "overrides.json").read_text())
    (run / "overrides.json").write_text(json.dumps([*overrides, "data.path=${oc.env:MY_SECRET}"]))
    done = typed("fit run_dir=r steps=6")
    assert done.code == 2
    assert "is not expanded when a run is continued" in done.err
    assert "hunter2" not in done.err


def test_two_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    made = [RunDirectory.create(tmp_path / "runs" / "now", "a: 1\n", [], numbered=True).path.name for _ in range(3)]
    assert made == ["now", "now-2", "now-3"]


def test_a_folder_whose_run_was_killed_at_its_birth_is_taken(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "overrides.json").write_text("[]")
    RunDirectory.create(tmp_path / "r", "a: 1\n", [])
    assert RunDirectory(tmp_path / "r").config() == {"a": 1}


def test_ctrl_c_before_the_run_has_begun_ends_at_once(workdir: Path) -> None:
    command = [sys.executable, "-m", "bigtrain", "fit", "steps=400000", "run_dir=early", "compilation_cache=false"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=workdir, stderr=subprocess.PIPE, text=True, env=environment)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
