"""`bigtrain verify` of a run of several processes: by as many, which give the same bits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command import typed
from processes import codes, errors, launch, started

from bigtrain.checkpoint import leaves, manifest

RUN = (
    "model.dropout=0.1", "batch_size=16", "logger=jsonl", "steps=8", "checkpoint.every=4", "checkpoint.keep=9",
    "checkpoint.best=false", "ema=0.9", "clip_norm=1",
)  # fmt: skip


def trained(folder: Path, processes: int, *options: str) -> Path:
    run = folder / "run"
    done = launch("-n", str(processes), "fit", *RUN, *options, f"run_dir={run}")
    assert done.returncode == 0, done.stderr
    return run


def test_two_processes_give_the_recorded_state_and_one_is_told_so(tmp_path: Path) -> None:
    """Parameters are split over the processes: no one of them could say what their hash is."""
    run = trained(tmp_path, 2, "model.widths=[64]", "mesh=fsdp")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    done = launch("-n", "2", "verify", str(run), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["from"], found["to"], found["equal"], found["compared_with"]) == (4, 8, True, "checkpoint")
    assert found["now"]["processes"] == 2
    assert found["changed"] == []
    assert json.loads((run / "receipt.json").read_text()) == found
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path in before} == before
    assert {path.name for path in run.rglob("*") if path.is_file()} - {path.name for path in before} == {"receipt.json"}
    alone = typed(f"verify {run}")
    said = f"error: {run}: the run was trained in 2 processes, and verify was started in 1\n"
    hint = f"  bigtrain launch -n 2 verify {run}, or start it as the run was started\n"
    assert (alone.code, alone.err) == (2, said + hint)


@pytest.mark.long
@pytest.mark.parametrize(
    ("processes", "options"),
    [
        (2, ("model=cnn", "mesh=data")),
        (2, ("model=transformer/nano", "model.width=32", "model.layers=2", "data=text", "data.length=16", "mesh=fsdp")),
        (4, ("model.widths=[64]", "mesh=data")),
        (4, ("model.widths=[64]", "mesh=fsdp")),
        (2, ("model.widths=[64]", "mesh=fsdp_tensor", "mesh.tensor=2", "mesh.simulate=2")),
    ],
)
def test_as_many_processes_give_the_recorded_state(processes: int, options: tuple[str, ...], tmp_path: Path) -> None:
    """From the beginning, from a checkpoint, and of a step that has none."""
    run, how = trained(tmp_path, processes, *options), ("-n", str(processes), "verify")
    for given in ((), ("--checkpoint", "0"), ("--checkpoint", "4", "--steps", "2")):
        done = launch(*how, str(run), "--json", *given)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["equal"]


@pytest.mark.long
def test_slurm_tasks_verify_a_run_that_two_processes_trained(tmp_path: Path) -> None:
    """As `srun -n 2 bigtrain verify RUN` starts them."""
    run = trained(tmp_path, 2, "model.widths=[64]", "mesh=fsdp")
    shared = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    tasks = [{**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in (0, 1)]
    with started(2, str(run), folder=tmp_path, variables=tasks, verb="verify") as running:
        assert codes(running, 100) == [0, 0], errors(tmp_path, 0) + errors(tmp_path, 1)
    assert (tmp_path / "out-0.txt").read_text().startswith("equal       steps 4 to 8 give the recorded state")
    assert (tmp_path / "out-1.txt").read_text() == ""


@pytest.mark.long
def test_another_state_and_another_number_of_processes(tmp_path: Path) -> None:
    """A difference is exit code 1 and no failure of a process; more processes than the run had are refused."""
    run = trained(tmp_path, 2, "model.widths=[64]", "mesh=fsdp")
    newest = run / "checkpoints" / "000000008"
    meta = json.loads((newest / "meta.json").read_text())
    meta["state"]["leaves"]["['params']['output.kernel']"][2] = "0" * 64
    meta["state"]["sha256"] = leaves.state_hash(meta["state"]["leaves"])
    (newest / "meta.json").write_text(json.dumps(meta))
    manifest.write(newest, 8)
    done = launch("-n", "2", "verify", str(run))
    assert (done.returncode, done.stderr) == (1, "")
    first = done.stdout.splitlines()[0]
    assert first == "differs     steps 4 to 8 do not give the recorded state: ['params']['output.kernel'] differs"
    done = launch("-n", "3", "verify", str(run))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {run}: the run was trained in 2 processes, and verify was started in 3\n")
    assert "rank" not in done.stderr
