"""A secret of the environment is used, and stands in nothing that is printed or written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Outcome, bigtrain, files

SECRET = "canary-5b1d-of-the-secrets"
OTHER = "canary-e07a-named-nowhere"
SMALL = ("steps=4", "batch_size=16", "model.widths=[8]", "eval_every=2", "run_dir=run", "data_workers=0")
CODE = '''
"""A logger that needs a key."""

import os


class Keyed:
    """Logs nowhere."""

    def __init__(self, *, key: str, fails: str = "", at_once: bool = False):
        assert key == os.environ["MY_SECRET"]
        self.key, self.fails = key, fails
        if at_once:
            self.fail()

    def fail(self):
        raise {"ValueError": ValueError, "OSError": OSError, "KeyError": KeyError}[self.fails](f"bad {self.key}")

    def log(self, step, scalars):
        if self.fails:
            self.fail()

    def close(self):
        open("used", "w").close()
'''
REFUSED = (
    "batch_size=${oc.env:MY_SECRET}",
    "steps=${oc.env:MY_SECRET}epochs",
    "model.norm=${oc.env:MY_SECRET}",
    "model._target_=${oc.env:MY_SECRET}",
    "mesh.data=${oc.env:MY_SECRET}",
    "plugins=[${oc.env:MY_SECRET}]",
    "freeze=[${oc.env:MY_SECRET}]",
    "schedule.warmup=${oc.env:MY_SECRET}",
    "checkpoint.every=${oc.env:MY_SECRET}",
    "data.path=${oc.env:MY_SECRET}",
    "data.nope=${oc.env:MY_SECRET}",
)


@pytest.fixture(autouse=True)
def _place(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.setenv("WANDB_API_KEY", OTHER)
    monkeypatch.setenv("TMPDIR", str(workdir / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (workdir / "tmp").mkdir()
    (workdir / "keyed_pkg.py").write_text(CODE)
    (workdir / "cfg" / "logger").mkdir(parents=True)
    (workdir / "cfg" / "logger" / "keyed.yaml").write_text(
        "# @package loggers.keyed\n_target_: keyed_pkg.Keyed\nkey: ${oc.env:MY_SECRET}\n"
    )
    yield
    monkeypatch.undo()


def fit(*words: str) -> Outcome:
    return bigtrain(
        "fit", "--trust", "keyed_pkg", "--config-dir", "cfg", "logger=[jsonl,csv,tensorboard,keyed]", *words
    )


def hits(done: Outcome) -> list[str]:
    """Where a canary appears: on the terminal, or in a file."""
    found = [text for text in (done.out, done.err) if SECRET in text or OTHER in text]
    for name in files(Path()):
        path = Path(name)
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in (SECRET, OTHER)):
            found.append(name)
    return found


def test_a_complete_run() -> None:
    done = fit(*SMALL)
    assert done.code == 0, done.err
    assert Path("used").exists()
    assert not hits(done)
    assert "${oc.env:MY_SECRET}" in Path("run/config.yaml").read_text()
    assert Path("run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("error", ["ValueError", "KeyError", "OSError"])
def test_a_run_that_fails(error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if error == "KeyError":
        monkeypatch.setenv("BIGTRAIN_DEBUG", "1")  # prints the traceback
    done = fit(*SMALL, f"loggers.keyed.fails={error}", "loggers.keyed.at_once=true")
    assert done.code != 0
    assert not hits(done)
    told = re.search(r"details are in (\S+)", done.err)
    if told is not None:
        assert "bad" in Path(told[1]).read_text()  # the message is there, without the value
        assert Path(told[1]).stat().st_mode & 0o777 == 0o600


def test_a_logger_that_fails_on_the_way() -> None:
    """Training goes on, and what is told of it has no value."""
    done = fit(*SMALL, "loggers.keyed.fails=ValueError")
    assert done.code == 0, done.err
    assert "lines were not written (ValueError: bad ${oc.env:MY_SECRET}" in done.err
    assert not hits(done)


def test_the_composed_config() -> None:
    done = fit("--cfg", *SMALL)
    assert done.code == 0, done.err
    assert "${oc.env:MY_SECRET}" in done.out
    assert not hits(done)


@pytest.mark.parametrize("override", REFUSED)
def test_a_message_that_quotes_a_value(override: str) -> None:
    done = fit(*SMALL, override)
    assert done.code == 2
    assert not hits(done)


def test_a_short_value_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be replaced in the middle of other words."""
    monkeypatch.setenv("MY_LEVEL", "fit")
    done = bigtrain("fit", "batch_size=${oc.env:MY_LEVEL}")
    assert done.err.startswith("error: batch_size: 'fit' is not allowed")
