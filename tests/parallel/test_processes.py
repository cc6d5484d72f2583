"""Several real processes on loopback are one run: the same losses, one log, one checkpoint, one end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import bigtrain
from processes import ENDLESS, READING, SMALL, codes, command, environment, errors, launch, started, wait_for
from support import losses_of, metrics_of, run_fit

from bigtrain.run.directory import RunDirectory


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of a data set that records what is read of it, and a config for it."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "readings").mkdir()
    (folder / "readings" / "__init__.py").write_text("")
    (folder / "readings" / "reading.py").write_text(READING.lstrip())
    (folder / "data").mkdir()
    (folder / "data" / "reading.yaml").write_text("_target_: readings.reading.reading\n")
    return folder


def reading(conf: Path, folder: Path) -> tuple[str, ...]:
    return ("--config-dir", str(conf), "--trust", "readings", "data=reading", f"data.folder={folder}")


def rows_read(folder: Path, rank: int) -> list[int]:
    return [row for line in (folder / f"read-{rank}.jsonl").read_text().splitlines() for row in json.loads(line)]


def test_two_processes_are_one_run(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal losses, each example read once, one log, everything saved once."""
    monkeypatch.chdir(conf)  # the package is found in the working directory
    together, alone = tmp_path / "two", tmp_path / "one"
    for folder in (together, alone):
        folder.mkdir()
    options = (*SMALL, "steps=8", "placement=stream")
    given = (*reading(conf, together), *options, f"run_dir={together / 'r'}")
    done = launch("fit", *given[:4], "-n", "2", *given[4:], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 8
    assert done.stderr.count("processes  2 (bigtrain launch") == 1
    single = bigtrain("fit", *reading(conf, alone), *options, f"run_dir={alone / 'r'}")
    assert single.code == 0, single.err
    np.testing.assert_allclose(losses_of(together / "r"), losses_of(alone / "r"), rtol=1e-5)
    lines = [line["step"] for line in metrics_of(together / "r") if "train/loss" in line]
    assert lines == list(range(1, 9)), "one process logs"
    ours = [rows_read(together, rank) for rank in (0, 1)]
    whole = np.array(rows_read(alone, 0))
    assert sorted(ours[0] + ours[1]) == sorted(whole.tolist())
    assert len(ours[0]) == len(ours[1])
    halves = whole[: 8 * 16].reshape(8, 2, 8)
    assert sorted(ours[0]) == sorted(halves[:, 0].reshape(-1).tolist()), "the first half of each batch"
    assert RunDirectory(together / "r").saved() == RunDirectory(alone / "r").saved()
    assert "step" in (together / "r" / "logs" / "rank-0.log").read_text()
    assert (together / "r" / "logs" / "rank-1.log").read_text().count("\n") == 1, "its head, and nothing else"
    stored = (together / "r" / "overrides.json").read_text()
    assert "distributed" not in stored
    again = bigtrain("evaluate", str(together / "r"), "--split", "validation", "--trust", "readings")
    assert again.code == 0, again.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "devices", "mesh"),
    [
        (2, 2, ("mesh=fsdp_tensor", "mesh.tensor=2")),
        pytest.param(2, 1, ("mesh=fsdp", "placement=resident"), marks=pytest.mark.long),
        pytest.param(4, 1, ("mesh=data",), marks=pytest.mark.long),
        pytest.param(4, 1, ("mesh=tensor",), marks=pytest.mark.long),
        pytest.param(4, 2, ("mesh=fsdp_tensor", "mesh.tensor=4"), marks=pytest.mark.long),
    ],
)
def test_every_mesh_over_processes_gives_the_losses_of_one(
    processes: int, devices: int, mesh: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("model.widths=[64]", *SMALL[1:], "steps=6")
    run_fit(tmp_path / "one", *options, "mesh=single")
    how = ("-n", str(processes), "--devices-per-process", str(devices))
    done = launch(*how, "fit", *options, *mesh, f"run_dir={tmp_path / 'many'}")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(losses_of(tmp_path / "many"), losses_of(tmp_path / "one"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "made"),
    [
        (("model=vae", "model.widths=[64]", "model.latent=4"), "samples/step-000004.png"),
        pytest.param(
            ("model=rnn", "model.width=16", "data=text", "data.length=8"),
            "samples/step-000004.txt",
            marks=pytest.mark.long,
        ),
        pytest.param(
            ("model=seq2seq/gru", "model.width=16", "data=arithmetic"),
            "answers/step-000004.txt",
            marks=pytest.mark.long,
        ),
    ],
    ids=["images", "text", "answers"],
)
def test_samples_of_a_model_that_is_split_over_processes(family: tuple[str, ...], made: str, tmp_path: Path) -> None:
    """All take part in what is computed, one writes; the numbers are those of one process."""
    options = (*family, *SMALL[1:], "steps=4", "seed=3")
    done = launch("fit", *options, "mesh=fsdp", f"run_dir={tmp_path / 'two'}", "-n", "2")
    assert done.returncode == 0, done.stderr
    run_fit(tmp_path / "one", *options, "mesh=single")
    np.testing.assert_allclose(losses_of(tmp_path / "two"), losses_of(tmp_path / "one"), rtol=1e-5)
    assert (tmp_path / "two" / made).stat().st_size == (tmp_path / "one" / made).stat().st_size


def test_sigterm_to_one_ends_all_after_the_same_step(tmp_path: Path) -> None:
    """Exit code 143 everywhere, one checkpoint, and one process goes on from it with the same order of data."""
    run = tmp_path / "r"
    with started(2, *ENDLESS, f"run_dir={run}", folder=tmp_path) as running:
        wait_for(lambda: RunDirectory(run).saved() or any(process.poll() is not None for process in running))
        running[1].send_signal(signal.SIGTERM)
        assert codes(running) == [143, 143], errors(tmp_path, 0) + errors(tmp_path, 1)
    assert "everything is saved" in errors(tmp_path, 0)
    assert errors(tmp_path, 1) == ""
    step = RunDirectory(run).saved()[-1]
    assert f"stopped at step {step:,};" in errors(tmp_path, 0)
    more = bigtrain("fit", f"run_dir={run}", f"steps={step + 3}", "log_every=1")
    assert more.code == 0, more.err
    whole = run_fit(tmp_path / "whole", *ENDLESS, f"steps={step + 3}", "log_every=1")
    assert whole["steps"] == step + 3
    ours, theirs = losses_of(run)[-2:], losses_of(tmp_path / "whole")[-2:]  # the one before began in a longer window
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)  # rounding, grown over hundreds of steps


@pytest.mark.parametrize("victim", [pytest.param(1, marks=pytest.mark.long), 0])
def test_a_killed_process_is_named_by_the_others(victim: int, tmp_path: Path) -> None:
    run = tmp_path / "r"
    options = (*ENDLESS, f"run_dir={run}", "distributed.lost_after=4")
    with started(2, *options, folder=tmp_path) as running:
        wait_for(lambda: RunDirectory(run).saved() or any(process.poll() is not None for process in running))
        running[victim].kill()
        assert running[1 - victim].wait(60) == 1, errors(tmp_path, 1 - victim)
    last = errors(tmp_path, 1 - victim).splitlines()[-1]
    assert f"process {victim} of 2 (host " in last
    assert f"pid {running[victim].pid}" in last
    assert "was lost" in last
    assert "checkpoints up to step " in last
    assert "type the same command again" in last


@contextlib.contextmanager
def launching(run: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A `bigtrain launch` of two processes that train until somebody ends them, after their first checkpoint."""
    with subprocess.Popen(
        command("launch", "-n", "2", "fit", *ENDLESS, f"run_dir={run}"),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as job:  # fmt: skip
        wait_for(lambda: RunDirectory(run).saved() or job.poll() is not None)
        yield job, [int(child) for child in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()]


def test_the_launcher_names_a_killed_process(tmp_path: Path) -> None:
    """It ends the others within seconds, and returns the code of the one that was killed."""
    with launching(tmp_path / "r") as (job, children):
        assert len(children) == 2
        os.kill(children[1], signal.SIGKILL)
        _, err = job.communicate(timeout=30)
    assert job.returncode == 128 + signal.SIGKILL
    assert f"error: process 1 of 2 (host {os.uname().nodename}, pid {children[1]}) was lost: killed by SIGKILL" in err
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_the_launcher_passes_signals_on(tmp_path: Path) -> None:
    with launching(tmp_path / "r") as (job, children):
        job.send_signal(signal.SIGUSR1)
        _, err = job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGTERM, "Slurm's warning is answered as SIGTERM is"
    assert f"stopped at step {RunDirectory(tmp_path / 'r').saved()[-1]:,}; everything is saved" in err
    assert "error" not in err
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_an_exception_in_one_process_ends_the_job_with_its_code(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(conf)
    (tmp_path / "fail").touch()
    given = (*reading(conf, tmp_path), "data.fails='1'", *SMALL, "steps=8", f"run_dir={tmp_path / 'r'}")
    done = launch("-n", "2", "fit", *given)
    assert done.returncode == 1, done.stderr
    assert "ZeroDivisionError: this disk is on fire" in done.stderr, "the end of its log"
    assert f"the end of {tmp_path / 'r' / 'logs' / 'rank-1.log'}:" in done.stderr
    assert "process 1 of 2 (host " in done.stderr.splitlines()[-1]
    assert "failed with exit code 1" in done.stderr.splitlines()[-1]


def test_slurm_tasks_find_each_other(tmp_path: Path) -> None:
    """As `srun -n 2 bigtrain fit …` starts them; a mistake made before they have is told by each."""
    shared = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    tasks = [{**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in (0, 1)]
    with started(2, *SMALL, "steps=2", f"run_dir={tmp_path / 'r'}", folder=tmp_path, variables=tasks) as running:
        assert codes(running, 100) == [0, 0], errors(tmp_path, 0) + errors(tmp_path, 1)
    assert "processes  2 (Slurm; process 0 at localhost:6" in errors(tmp_path, 0)
    with started(2, "model=mlpp", folder=tmp_path, variables=tasks) as running:
        assert codes(running, 100) == [2, 2]
    assert errors(tmp_path, 0).startswith("error: model: there is no model 'mlpp'")
    assert errors(tmp_path, 1).startswith("error: process 1: model: there is no model 'mlpp'")


@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        ("batch_size=15", "error: batch_size: 15 does not divide over 2 devices"),
        ("mesh=single", "error: mesh.data: 1 of 2 devices leave nothing to do for process 1\n"),
    ],
)
def test_a_mistake_that_shows_late_is_told_once(mistake: str, answer: str, tmp_path: Path) -> None:
    """Found when the processes have come together already."""
    done = launch("fit", "-n", "2", *SMALL, mistake, f"run_dir={tmp_path / 'r'}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error:") == 1
    assert done.stderr.startswith(answer)
    assert not (tmp_path / "r").exists()


def test_a_mistake_in_the_config_starts_nothing(tmp_path: Path) -> None:
    done = launch("-n", "4", "fit", "optimizer.learning_rate=fast", f"run_dir={tmp_path / 'r'}")
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert not (tmp_path / "r").exists()


def test_processes_that_wait_in_vain_say_so(tmp_path: Path) -> None:
    """JAX itself ends with an abort from C++; here the last line says what is wrong."""
    options = ("distributed.start_timeout=3", f"run_dir={tmp_path / 'r'}")
    with started(2, *options, folder=tmp_path, wanted=3) as running:
        assert codes(running) == [1, 1]
    for rank in (0, 1):
        problem, hint = errors(tmp_path, rank).splitlines()[-2:]
        assert problem.startswith(f"error: process {rank} of 3 ({os.uname().nodename}): the processes did not come")
        assert "distributed.start_timeout" in hint
    assert not (tmp_path / "r").exists()
