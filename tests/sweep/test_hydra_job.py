"""Jobs that another launcher of Hydra starts: each asks by itself whether it may still begin, and whether to end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import bigtrain

from bigtrain.config.compose import prepared
from bigtrain.sweep import hydra_job
from bigtrain.sweep.hydra_job import Job, Told
from bigtrain.sweep.job import Judge
from bigtrain.sweep.member import Settings
from bigtrain.sweep.trial import Objective
from bigtrain.sweep.under_way import conducted_by
from bigtrain.train.interrupt import Requests

SETTINGS = Settings(Judge((Objective("loss", "min"),)))
SMALL = ("model.widths=[4]", "batch_size=16", "eval_every=10", "log_every=10", "logger=jsonl")


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run directory of the job that Hydra has composed."""
    job = prepared([*SMALL, "steps=3", f"run_dir={tmp_path / 'run'}"], None)
    monkeypatch.setattr(hydra_job, "overrides_of_job", lambda: job)
    return tmp_path / "run"


def test_a_job_begins_while_there_is_time(typed: Path) -> None:
    assert Job(SETTINGS, until=time.time())(None)["state"] == "waiting"
    assert not typed.exists()
    assert Job(SETTINGS, until=time.time() + 3600)(None)["state"] == "done"


def test_no_job_begins_once_the_sweep_is_told_to_end(typed: Path, tmp_path: Path) -> None:
    stop = tmp_path / "owner.stop"
    stop.touch()
    assert Job(SETTINGS, stop=str(stop))(None)["state"] == "waiting"
    assert not typed.exists()


def test_a_pool_of_one_listens_to_the_sweep_itself(typed: Path) -> None:
    listener = Requests()
    conductor: Any = SimpleNamespace(around=SimpleNamespace(listener=listener))
    with conducted_by(conductor):
        listener.received = int(signal.SIGINT)
        assert Job(SETTINGS)(None)["state"] == "waiting"
    assert not typed.exists()


def test_a_job_under_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hydra_job, "LOOK_SECONDS", 0.0)
    stop, own = tmp_path / "owner.stop", Requests()
    told = Told(own, stop)
    assert told() is None
    stop.touch()
    assert told() == signal.SIGTERM
    own.received = int(signal.SIGINT)
    assert Told(own, tmp_path / "nothing")() == signal.SIGINT


class Foreign:
    """A launcher that asks nobody: a signal comes while it runs, and it notes what its jobs could see."""

    def __init__(self, sweep: Any) -> None:
        self.sweep = sweep
        self.seen = False

    def launch(self, jobs: Any, initial_job_idx: int) -> list[Any]:
        from hydra.core.utils import JobReturn, JobStatus

        self.sweep.around.listener.received = int(signal.SIGTERM)
        for _ in range(100):
            time.sleep(0.1)
            if self.sweep.ledger.stop.exists():
                self.seen = True
                break
        waits = {"state": "waiting", "scores": None}
        return [JobReturn(overrides=list(job), _return_value=waits, status=JobStatus.COMPLETED) for job in jobs]


def test_a_signal_to_the_sweep_reaches_jobs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.sweep.conduct import Conductor

    run, met = Conductor.run, []

    def elsewhere(self: Conductor, launcher: Any) -> Any:
        met.append(Foreign(self))
        return run(self, met[0])

    monkeypatch.setattr(Conductor, "run", elsewhere)
    folder = tmp_path / "sweep"
    found = bigtrain("fit", "-m", *SMALL, "steps=3", "seed=1,2", f"sweep_dir={folder}")
    assert (found.code, "2 waiting" in found.out) == (143, True), found.err
    assert met[0].seen
    assert list((folder / "owners").iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_pool_saves_and_ends(tmp_path: Path, processes: int) -> None:
    """The jobs under way are saved, and no other begins."""
    folder = tmp_path / "sweep"
    given = ["fit", "-m", *SMALL, "steps=1000000", "seed=range(4)", "hydra/launcher=joblib", f"sweep_dir={folder}"]
    given.append(f"hydra.launcher.n_jobs={processes}")
    process = subprocess.Popen([sys.executable, "-m", "bigtrain", *given], stdout=subprocess.PIPE, text=True)
    while len(list(folder.glob("trials/*/metrics.jsonl"))) < processes:
        assert process.poll() is None
        time.sleep(0.2)
    process.terminate()
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, "4 waiting" in out) == (143, True)
    assert len(list((folder / "trials").iterdir())) == processes
    assert len(list(folder.glob("trials/*/checkpoints/*"))) >= processes
