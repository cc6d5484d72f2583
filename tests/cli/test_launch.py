"""The launcher: what it passes on, and how it ends its processes; with small programs in the place of runs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from processes import wait_for

from bigtrain.cli import launch
from bigtrain.cli.launch import Job
from bigtrain.config.compose import compose, quoted
from bigtrain.parallel import watch
from bigtrain.parallel.cluster import told
from bigtrain.train import interrupt

DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""As a process is that waits in C++."""

FOREVER = 1e9


def job(folder: Path, number: int, program: str) -> Job:
    """A job of processes that run a program of two parts: `rank` is known, and the file `ready-RANK` says it is set."""
    (folder / "marks").mkdir()
    lead = "import os, pathlib, signal, sys, time; rank = int(os.environ['BIGTRAIN_PROCESS']); "
    lead += f"folder = pathlib.Path({str(folder)!r})\n"
    made = Job(number, folder / "r", folder / "marks")
    made.start([sys.executable, "-c", lead + program], None)
    return made


def ready(folder: Path, number: int) -> None:
    wait_for(lambda: all((folder / f"ready-{rank}").exists() for rank in range(number)), 30)


WAITS = "(folder / f'ready-{rank}').touch()\ntime.sleep(60)\n"
TRAINS = "pathlib.Path(os.environ['BIGTRAIN_LISTENING']).touch()\n" + WAITS


@pytest.fixture
def endless_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that wrongly waits for processes to save never ends by itself."""
    monkeypatch.setattr(launch, "SAVING_SECONDS", FOREVER)
    monkeypatch.setattr(launch, "GRACE_SECONDS", FOREVER)
    monkeypatch.setattr(launch, "QUIT_SECONDS", 0.2)


@pytest.mark.usefixtures("endless_saving")
def test_a_process_that_can_not_hear_yet_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaves = "signal.signal(signal.SIGINT, lambda *_: os._exit(130))"
    running = job(tmp_path, 2, f"{leaves}\nif rank: {DEAF}\n{WAITS}")
    ready(tmp_path, 2)
    running.receive(signal.SIGINT)
    assert running.wait() == 130
    assert [worker.code() for worker in running.workers] == [130, 143]
    assert capsys.readouterr().err == "interrupted before training began; no checkpoint was complete yet\n"


@pytest.mark.usefixtures("endless_saving")
def test_where_none_can_hear_yet_all_are_ended(tmp_path: Path) -> None:
    running = job(tmp_path, 2, f"{DEAF}\n{WAITS}")
    ready(tmp_path, 2)
    running.receive(signal.SIGINT)
    assert running.wait() == 130
    assert [worker.code() for worker in running.workers] == [143, 143]


@pytest.mark.usefixtures("endless_saving")
def test_a_second_signal_ends_those_that_are_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = job(tmp_path, 2, f"{DEAF}\n{TRAINS}")
    ready(tmp_path, 2)
    running.receive(signal.SIGINT)
    running.receive(signal.SIGINT)
    assert not running.insists, "the same one, sent twice"
    monkeypatch.setattr(launch, "REPEAT_SECONDS", 0.0)
    running.receive(signal.SIGINT)
    assert running.wait() == 130
    assert [worker.code() for worker in running.workers] == [143, 143]
    assert "interrupted by a second signal; " in capsys.readouterr().err


def test_processes_that_train_have_the_time_to_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "QUIT_SECONDS", 0.0)
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.0)
    program = """
def save(*_):
    if rank:
        time.sleep(1)
        (folder / "saved").touch()
    os._exit(130)
signal.signal(signal.SIGINT, save)
"""
    running = job(tmp_path, 2, program + TRAINS)
    ready(tmp_path, 2)
    running.receive(signal.SIGINT)
    assert running.wait() == 130
    assert (tmp_path / "saved").exists()


def test_an_exit_as_of_a_signal_before_training_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "SAVING_SECONDS", FOREVER)
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.2)
    running = job(
        tmp_path,
        2,
        f"if rank:\n    os._exit(143)\n{WAITS}",
    )
    assert running.wait() == 143
    assert "process 1 of 2" in capsys.readouterr().err


def test_after_a_signal_no_further_process_is_started(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    running = Job(3, tmp_path / "r", tmp_path / "marks")
    running.receive(signal.SIGTERM)
    running.start([sys.executable, "-c", "pass"], None)
    assert running.workers == []
    assert running.wait() == 143


def test_a_process_says_when_it_answers_signals_by_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(watch.LISTENING, str(tmp_path / "0"))
    with interrupt.requests() as requested:
        assert (tmp_path / "0").exists()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert requested() == signal.SIGUSR1


def test_the_others_have_time_to_name_the_one_that_failed() -> None:
    assert launch.GRACE_SECONDS > watch.GRACE_SECONDS + watch.LINGER_SECONDS
    assert launch.GRACE_SECONDS + 2 * launch.KILL_SECONDS < 30


@pytest.mark.parametrize(
    "path",
    [
        "runs/x",
        "/tmp/a,b",
        "/tmp/a (2)",
        "/tmp/x=1",
        "/tmp/it's",
        'a"b',
        "1e5",
        "null",
        "[a]",
        "a b ",
        "a\\",
    ],
)
def test_a_run_dir_is_read_as_it_is(path: str) -> None:
    text = quoted("run_dir", path)
    assert compose([text]).resolved["run_dir"] == path
    assert quoted("run_dir", "runs/x") == "run_dir=runs/x", "where nothing has to be quoted"


@pytest.mark.parametrize("typed", ["run_dir='{}'", "++run_dir='{}'"])
def test_each_process_is_given_one_run_dir_that_it_can_read(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(Job, "start", lambda self, command, folder: commands.append(command))
    path = tmp_path / "a,b (2)"
    given = ["steps=2", typed.format(path)]
    code = launch.run("fit", given, [], number=2, devices=None, logs=None, config_dir=None, trust=())
    assert code == 0
    (command,) = commands
    assert compose([text for text in command[5:] if "=" in text]).resolved["run_dir"] == str(path)
    assert sum("run_dir" in text for text in command) == 1


def test_who_a_process_is_can_not_be_typed() -> None:
    from bigtrain.config.errors import ConfigError

    with pytest.raises(ConfigError, match=r"distributed.process_id: is filled in by bigtrain launch"):
        launch._run_dir(["++distributed.process_id=1"], None, (), new=False)
    assert set(told("h:1", 2, 1)) == {"BIGTRAIN_COORDINATOR", "BIGTRAIN_PROCESSES", "BIGTRAIN_PROCESS"}
