"""The run directory on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bigtrain.config.errors import InputError
from bigtrain.run.directory import RunDirectory, differences


def made(path: Path, config: str = "seed: 0\nmodel: {width: 3}\nsteps: 5\n") -> RunDirectory:
    return RunDirectory.create(path, config, ["seed=0"])


def test_create_and_find(workdir: Path) -> None:
    run = made(workdir / "a" / "b")
    assert RunDirectory.find("a/b").path == Path("a/b")
    assert run.config() == {"seed": 0, "model": {"width": 3}, "steps": 5}
    assert run.overrides() == ["seed=0"]
    assert run.result() is None
    assert stat.S_IMODE(run.path.stat().st_mode) & 0o077 == 0
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "overrides.json"]


def test_an_empty_folder_is_taken(workdir: Path) -> None:
    (workdir / "empty").mkdir()
    assert RunDirectory.exists(made(workdir / "empty").path)


def test_checking_a_new_path_makes_nothing(workdir: Path) -> None:
    RunDirectory.check_new(Path("some/new/run"))
    assert not list(workdir.iterdir())


def test_a_folder_without_permission(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, whom no permission stops."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    with pytest.raises(InputError) as caught:
        RunDirectory.check_new(Path("run"))
    reason = f"Permission denied: {str(workdir)!r}"
    assert str(caught.value) == f"run_dir: can't write to 'run': {reason}\n  choose another folder: run_dir=…"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("runs/secnd", "'runs/secnd' is no run directory: there is no such folder\n  did you mean runs/second?"),
        ("runs", "'runs' is no run directory: it has no config.yaml\n  it holds 2 runs, the newest: runs/second"),
        ("file", "'file' is no run directory: it is a file\n  bigtrain fit makes one; it prints the path as 'run'"),
        (
            "x/y",
            "'x/y' is no run directory: there is no such folder\n  bigtrain fit makes one; it prints the path as 'run'",
        ),
    ],
)
def test_the_nearest_run(asked: str, message: str, workdir: Path) -> None:
    for age, name in ((100, "first"), (0, "second")):
        run = made(workdir / "runs" / name)
        os.utime(run.path, (1e9 - age, 1e9 - age))
    (workdir / "file").write_text("")
    with pytest.raises(InputError) as caught:
        RunDirectory.find(asked)
    assert str(caught.value) == message


def test_a_write_is_whole_or_nothing(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(workdir / "run")
    run.write("result.json", "{}")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(OSError, match="No space"):
            run.write("result.json", '{"a": 1}')
    assert run.result() == {}


def test_what_may_differ_when_a_run_goes_on() -> None:
    before = {"steps": 5, "seed": 0, "model": {"width": 3, "depth": 1}, "checkpoint": {"keep": 1}}
    now = {"steps": 9, "seed": 0, "model": {"width": 4}, "checkpoint": {"keep": 2}, "ema": 0.9}
    assert differences(before, now) == [("model.width", 3, 4), ("model.depth", 1, None), ("ema", None, 0.9)]


@pytest.mark.parametrize("content", ["{ [", "- 1", "", "\xff"])
def test_a_damaged_config(content: str, workdir: Path) -> None:
    run = made(workdir / "run")
    (run.path / "config.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"run/config\.yaml: "):
        run.config()
    (run.path / "overrides.json").write_text("{")
    with pytest.raises(InputError, match=r"overrides\.json: can't be read"):
        run.overrides()
