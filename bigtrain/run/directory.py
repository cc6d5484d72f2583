"""A run directory on disk.

config.yaml       the composed config, interpolations of the environment unresolved
overrides.json    what was typed
spec.json         the data's shapes, classes and vocabulary: enough to use the model without the data
environment.json  versions, devices, settings, commit
metrics.jsonl     …and what the other loggers write
checkpoints/      training states
adopted.json      the run whose state this one began with, and at which step: a copy of population-based training
.lock             held by the process that trains the run
receipt.json      what `bigtrain verify` found
samples/          what a generative model made
curves.png        learning curves
profile/          traces of some steps
result.json       the final scores; exists exactly when the run is finished
diverged.json     the step that broke the run, its examples, and what of it was not finite first
stacks.txt        what every thread was doing when the watchdog ended the run
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.config import untrusted
from bigtrain.config.errors import ConfigError, InputError, RunError, nearest
from bigtrain.parallel import distributed

EXTENDABLE = (
    "steps", "stop_at", "eval_every", "log_every", "eval_batch_size", "run_dir", "placement", "data_workers",
    "steps_per_dispatch", "profile", "profile_from", "profile_steps", "compilation_cache", "checkpoint",
    "early_stopping", "plan", "loggers", "plugins", "mesh", "distributed", "on_nonfinite", "nonfinite_limit",
    "watchdog",
)  # fmt: skip
"""Keys that may differ when a run is continued: they change how long or how it runs, not what is trained."""

_BEGUN = (".lock", "overrides.json", ".overrides.json.partial", ".config.yaml.partial", "logs")
"""All that is in a folder whose run was killed before its config was written, or that `bigtrain launch` has made."""

ADOPTED = "adopted.json"
SEEN_SECONDS = 30.0  # within which a file that one host has written is to be seen by the others
_OF_URLS = "%#?|"


def check_named(key: str, path: Path) -> None:
    """Refuses a folder whose whole name can't be handed to what saves arrays, as a URL in UTF-8.

    With `a%20b` they would be written to `a b`.
    """
    if found := sorted(set(_OF_URLS) & set(str(path.absolute()))):
        problem = (
            f"{str(path.absolute())!r} has {' and '.join(map(repr, found))}, which no checkpoint can be saved below"
        )
        raise ConfigError(key, problem, hint=f"name a folder, and all above it, without: {key}=…")
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        problem = f"{str(path.absolute())!a} is not UTF-8"
        raise ConfigError(key, problem, hint=f"name a folder, and all above it, in UTF-8: {key}=…") from error


@dataclass(frozen=True)
class RunDirectory:
    """A folder that belongs to one run."""

    path: Path

    @classmethod
    def create(cls, path: Path, config_yaml: str, overrides: Sequence[str], *, numbered: bool = False) -> RunDirectory:
        """A new run directory, private to the user; a folder that holds something else is refused.

        Args:
            path: the folder.
            config_yaml: the composed config.
            overrides: what was typed.
            numbered: take the next free name (`…-2`) if the folder is there: two runs may start in the same second.
        """
        return cls(cls.claimed(path, numbered=numbered)).begun(config_yaml, overrides)

    def begun(self, config_yaml: str, overrides: Sequence[str]) -> RunDirectory:
        """The same folder, as a run; refused where another has become one there in the meantime."""
        if self.exists(self.path):
            raise InputError(f"run_dir: {str(self.path)!r} holds a run that has just been started by another process")
        try:
            self.keep(config_yaml, overrides)
        except OSError as error:
            raise _unwritable(self.path, error.strerror or str(error)) from error
        return self

    @classmethod
    def claimed(cls, path: Path, *, numbered: bool) -> Path:
        """An empty folder for a new run; see `create`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path = _claimed(path) if numbered else path
            cls.check_new(path)
            path.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from error
        return path

    def keep(self, config_yaml: str, overrides: Sequence[str]) -> None:
        """Writes down what the run is now; the config last, since with it the folder is a run."""
        self.write("overrides.json", json.dumps(list(overrides), indent=1))
        self.write("config.yaml", config_yaml)

    @staticmethod
    def check_new(path: Path) -> None:
        """Refuses a path where no run directory can be made. Makes nothing, so it can be asked before compiling."""
        check_named("run_dir", path)
        try:
            if path.is_dir() and any(entry.name not in _BEGUN for entry in path.iterdir()):
                hint = "choose another run_dir, or empty this one"
                raise InputError(f"run_dir: {str(path)!r} is not empty and holds no bigtrain run\n  {hint}")
            there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from error
        if not there.is_dir():
            raise _unwritable(path, f"{str(there)!r} is a file")
        try:
            with tempfile.TemporaryDirectory(dir=there, prefix=".bigtrain-"):
                pass
        except OSError as error:
            raise _unwritable(path, f"{error.strerror or error}: {str(there)!r}") from error

    @classmethod
    def find(cls, path: str | Path) -> RunDirectory:
        """An existing run; when there is none, the error names the nearest ones."""
        folder = Path(path)
        if cls.exists(folder):
            return cls.checked(folder)
        problem = "it has no config.yaml" if folder.is_dir() else "it is a file"
        problem = problem if folder.exists() else "there is no such folder"
        inside = [item.parent for item in folder.glob("*/config.yaml")] if folder.is_dir() else []
        near = {item.parent.name: str(item.parent) for item in folder.parent.glob("*/config.yaml")}
        close = nearest(folder.name, near, number=3)
        if inside:
            hint = f"it holds {len(inside)} runs, the newest: {max(inside, key=os.path.getmtime)}"
        elif close:
            hint = f"did you mean {' or '.join(near[name] for name in close)}?"
        else:
            hint = "bigtrain fit makes one; it prints the path as 'run'"
        raise InputError(f"{str(path)!r} is no run directory: {problem}\n  {hint}")

    @classmethod
    def checked(cls, path: Path) -> RunDirectory:
        """A run that may come from a stranger: nothing in it may lead out of it, to be read or written there."""
        untrusted.check_contained(path)
        return cls(path)

    def check_seen(self) -> None:
        """Of several processes, each looks whether it sees what process 0 has written: they have to share the disk."""
        distributed.current().barrier("directory")
        until = time.monotonic() + SEEN_SECONDS
        while not self.exists(self.path):
            if time.monotonic() > until:
                where = f"process {distributed.current().index} ({socket.gethostname()})"
                hint = "checkpoints are written by all: choose a run_dir on a disk that the hosts share"
                raise RunError(f"run_dir: {where} does not see {str(self.path)!r}, which process 0 has made\n  {hint}")
            time.sleep(0.2)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether the folder holds a run."""
        return (path / "config.yaml").is_file()

    @property
    def checkpoints(self) -> Path:
        """Where the training states are."""
        return self.path / "checkpoints"

    def saved(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        return saved_steps(self.checkpoints)

    def config(self) -> dict[str, Any]:
        """The config that the run was started with, as data: nothing in it is expanded."""
        path = self.path / "config.yaml"
        try:
            found = untrusted.read_yaml(path)
        except FileNotFoundError as error:
            raise InputError(f"{path}: there is no such file") from error
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise InputError(f"{path}: is no config")
        return found

    def overrides(self) -> list[str]:
        """What was typed when the run was started."""
        found = self.read("overrides.json")
        if found is not None and not (isinstance(found, list) and all(isinstance(item, str) for item in found)):
            raise InputError(f"{self.path / 'overrides.json'}: is no list of overrides")
        return found or []

    def result(self) -> dict[str, Any] | None:
        """The final scores, or None while the run isn't finished."""
        found = self.read("result.json")
        if found is not None and not isinstance(found, dict):
            raise InputError(f"{self.path / 'result.json'}: is no result of a run")
        return found

    def read(self, name: str, most: int = untrusted.SMALL) -> Any:
        """A JSON file of the run, of at most `most` bytes; None when it isn't there."""
        try:
            return untrusted.read_json(self.path / name, most)
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """Writes a file whole or not at all; of several processes, process 0 does."""
        if not distributed.current().leader:
            return
        partial = self.path / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path / name)

    def check_same(self, config: Mapping[str, Any]) -> None:
        """Refuses to continue the run with a config that trains something else; the message lists what differs."""
        changes = differences(self.config(), config)
        if changes:
            lines = "\n".join(f"  {path}: {before!r} there, {now!r} here" for path, before, now in changes[:12])
            hint = "to continue it, drop those keys; to train this, choose another run_dir"
            raise InputError(f"run_dir: {str(self.path)!r} belongs to another config\n{lines}\n  {hint}")


def _claimed(path: Path) -> Path:
    """The first of `path`, `path-2`, `path-3` … that isn't there yet, made so that nobody else can have it."""
    for number in itertools.count(1):
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(mode=0o700)
            return candidate
        except FileExistsError:
            continue
    raise AssertionError("itertools.count ends")


def saved_steps(folder: Path) -> list[int]:
    """The steps of the committed checkpoints in a folder of them, ascending; see `bigtrain.checkpoint`."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir())


def _unwritable(path: Path, reason: str) -> InputError:
    return InputError(f"run_dir: can't write to {str(path)!r}: {reason}\n  choose another folder: run_dir=…")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Dotted paths whose values differ, except for the extendable ones."""
    left, right = dict(_flat(before)), dict(_flat(now))
    if left.keys() == right.keys():  # a table has no order, but augmentations are applied in theirs
        left["augment"], right["augment"] = (list(values.get("augment") or {}) for values in (before, now))
    return [
        (path, left.get(path), right.get(path))
        for path in dict.fromkeys([*left, *right])
        if path.split(".")[0] not in EXTENDABLE and left.get(path) != right.get(path)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        path = f"{prefix}{name}"
        found += _flat(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return found
