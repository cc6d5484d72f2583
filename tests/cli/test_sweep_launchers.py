"""The same sweep with each launcher: the same jobs, the same results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import bigtrain

from bigtrain.config import multirun
from bigtrain.config.errors import ConfigError
from bigtrain.sweep.around import Around
from bigtrain.sweep.isolated import Isolated
from bigtrain.sweep.job import Judge, Outcome
from bigtrain.sweep.member import Settings
from bigtrain.sweep.portion import plugins
from bigtrain.sweep.trial import Objective

SMALL = ("model.widths=[4]", "steps=20", "batch_size=16", "eval_every=10", "log_every=10", "logger=jsonl")
SWEPT = ("optimizer=sgd", "optimizer.learning_rate=1e38,1e-2,1e-1")


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """results.csv of the sweep in this process."""
    folder = tmp_path_factory.mktemp("sweeps") / "population"
    assert bigtrain("fit", "-m", *SMALL, *SWEPT, f"sweep_dir={folder}").code == 0
    return (folder / "results.csv").read_bytes()


@pytest.mark.parametrize(
    "launcher",
    [
        ("isolated", "hydra.launcher.at_once=3"),
        ("joblib", "hydra.launcher.n_jobs=1"),  # in the sweep's own process
        pytest.param(("joblib", "hydra.launcher.n_jobs=2"), marks=pytest.mark.long),
        pytest.param(("submitit_local",), marks=pytest.mark.long),
        pytest.param(("ray",), marks=pytest.mark.long),
    ],
    ids=lambda launcher: launcher[0] + launcher[-1][-1],
)
def test_same_results(tmp_path: Path, population: bytes, launcher: tuple[str, ...]) -> None:
    name, *more = launcher
    if name == "ray":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    given = ["fit", "-m", *SMALL, *SWEPT, f"sweep_dir={tmp_path / 'sweep'}", f"hydra/launcher={name}", *more]
    # in a process of its own: submitit sets up Python's logging anew, and so closes streams of this one
    found = subprocess.run([sys.executable, "-m", "bigtrain", *given], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "sweep" / "results.csv").read_bytes() == population
    assert len(list((tmp_path / "sweep" / "trials").glob("*/config.yaml"))) == 3


def settings(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Around:
    """Jobs that run a script instead of training."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!{sys.executable}\nimport os, sys, signal, pathlib\n{script}\n")
    stand_in.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    return Around(Settings(Judge((Objective("loss", "min"),))))


def test_each_process_sees_its_own_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        f"(pathlib.Path({str(tmp_path)!r}) / f'seen-{{os.getpid()}}').write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    around = settings(tmp_path, script, monkeypatch)
    jobs = [(f"run_dir={tmp_path / 'trials' / str(at)}",) for at in range(4)]
    assert len(dict(Isolated(None, ["2", "5"]).run(jobs, around))) == 4
    assert sorted(path.read_text() for path in tmp_path.glob("seen-*")) == ["2", "2", "5", "5"]


@pytest.mark.parametrize(
    ("typed", "wanted"), [(None, []), (0, ["0"]), ([0, 1], ["0", "1"]), (["GPU-8f4b"], ["GPU-8f4b"])]
)
def test_devices_are_a_list(typed: Any, wanted: list[str]) -> None:
    assert plugins()[1].IsolatedLauncher(devices=typed).runner.devices == wanted


@pytest.mark.parametrize("typed", ["0,1", "0", True, [], [-1], ["0,1"], [""], [[0]], {"0": 1}, 1.5], ids=str)
def test_devices_that_are_none_are_refused(typed: Any) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.devices: .* is not allowed\n  allowed: a list of"):
        plugins()[1].IsolatedLauncher(devices=typed)


def test_a_crash_is_one_failed_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    around = settings(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)", monkeypatch)
    job = (f"run_dir={tmp_path / 'trials' / '0'}",)
    ((_, outcome),) = Isolated(1).run([job], around)
    assert (outcome.state, outcome.error) == ("failed", "its process was killed by signal 11; see 0.log.txt")
    assert Outcome.read(tmp_path / "trials" / "0") == outcome


def test_a_finished_run_is_not_a_failure(tmp_path: Path, trained: Path) -> None:
    """As after a kill between the end of a run and its outcome."""
    import shutil

    from bigtrain.sweep.member import run

    shutil.copytree(trained, tmp_path / "0")
    job = ["steps=3", "batch_size=16", "logger=jsonl", "model.widths=[8]", f"run_dir={tmp_path / '0'}"]
    outcome = run(job, Settings(Judge((Objective("loss", "min"),))))
    assert outcome.state == "done"
    assert Outcome.read(tmp_path / "0") == outcome


@pytest.mark.parametrize("code", ["os.EX_IOERR"])
def test_a_full_disk_is_not_a_failed_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The others are not started: they would meet it, too."""
    around = settings(tmp_path, f"sys.exit({code})", monkeypatch)
    jobs = [(f"run_dir={tmp_path / 'trials' / str(at)}",) for at in range(3)]
    found = [outcome for _, outcome in Isolated(1).run(jobs, around)]
    assert [(outcome.state, outcome.machine) for outcome in found] == [("waiting", True), *[("waiting", False)] * 2]
    assert len(list((tmp_path / "trials").iterdir())) == 1


def test_what_is_told_to_end_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a member that saves on a signal does: it exits with 128 + the signal's number."""
    around = settings(tmp_path, "sys.exit(143)", monkeypatch)
    ((_, outcome),) = Isolated(1).run([(f"run_dir={tmp_path / 'trials' / '0'}",)], around)
    assert outcome.state == "waiting"
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["0.log.txt"]


def test_the_names_of_our_own_launchers_are_known_before_they_are_imported() -> None:
    assert sorted(plugins()[1].NODES) == sorted(multirun.OWN)
