"""What a run directory says about its model, read and checked before JAX is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.config import untrusted
from bigtrain.config.check import Checked, check
from bigtrain.config.compose import parse
from bigtrain.config.errors import ConfigError, DataError, InputError
from bigtrain.config.overrides import unreadable
from bigtrain.config.trust import Trust
from bigtrain.data.serialize import spec_from_json
from bigtrain.data.spec import Spec
from bigtrain.run.directory import RunDirectory

CHANGEABLE = ("data", "mesh", "eval_batch_size")
"""Keys that may be changed for evaluation: where the data is and on which devices, not what was trained."""

_NO_DATA = {"_target_": "bigtrain.data.digits.digits"}  # stands for data that is never loaded


@dataclass(frozen=True)
class Stored:
    """A run as its files describe it; `checkpoint` is `last`, `best` or the name of one that exists."""

    directory: RunDirectory
    checked: Checked
    trusted: Trust
    spec: Spec
    checkpoint: str


def read(
    path: str | Path,
    *,
    checkpoint: str,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    scoring: bool = False,
) -> Stored:
    """The config, spec and checkpoint of a run, checked; nothing in the directory can widen what may be built.

    Without `scoring` the run's data and mesh play no part: `spec.json` is enough to use the model.
    """
    directory = RunDirectory.find(path)
    values = {**directory.config(), "loggers": {}, "augment": {}, "plugins": []}
    if not scoring:
        values = {**values, "data": _NO_DATA, "mesh": {}}
    if scoring and isinstance(values.get("data"), dict):  # where to fetch from is said at the keyboard, or built in
        values["data"] = {name: value for name, value in values["data"].items() if name != "url"}
    for text in overrides:
        _apply(values, text)
    check_expanded(values)
    trusted = Trust.of(trust)
    checked = check(values, trusted)
    _check_checkpoint(directory, checkpoint)
    plain, where = directory.read("spec.json", untrusted.LARGE), directory.path / "spec.json"
    if plain is None:
        raise DataError(where, "is not there", hint="bring it back from a copy, or train in a new run_dir")
    return Stored(directory, checked, trusted, spec_from_json(plain, where), checkpoint)


def _check_checkpoint(directory: RunDirectory, wanted: str) -> None:
    found = directory.saved()
    if not found:
        raise InputError(
            f"{directory.path} has no checkpoint yet\n  train it first: bigtrain fit run_dir={directory.path}"
        )
    if wanted not in ("last", "best", *map(str, found)):
        raise ConfigError("--checkpoint", f"there is no {wanted!r}", allowed=["last", "best", *map(str, found)])


def check_expanded(values: Mapping[str, Any]) -> None:
    """Refuses interpolations: a run directory may come from a stranger, and they read the environment."""
    for path, value in _strings(values):
        if "${" in value and not path.startswith("run_dir"):
            hint = f"give the value: {path}=…" if path.split(".")[0] in CHANGEABLE else None
            raise ConfigError(path, f"{value!r} is not expanded when a run is loaded", hint=hint)


def _apply(values: dict[str, Any], text: str) -> None:
    """Sets one key to what was typed, in the config of the run."""
    given = parse(text)
    if given is None or given.deletes or given.several or not given.key:
        raise unreadable(text, {}, example="eval_batch_size=64 data.path=new.npz")
    parts = given.key.split(".")
    if parts[0] not in CHANGEABLE or given.key in ("data", "mesh"):
        allowed = ["data.FIELD=…", "mesh.FIELD=…", "eval_batch_size=…"]
        raise ConfigError(given.key, "can't be changed for a trained model", allowed=allowed)
    at: Any = values
    for part in parts[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise ConfigError(given.key, "is no field of the config")
    at[parts[-1]] = given.value


def _strings(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _strings(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found += [(f"{prefix}{name}", item) for item in value if isinstance(item, str)]
        elif isinstance(value, str):
            found.append((f"{prefix}{name}", value))
    return found
