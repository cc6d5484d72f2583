"""Opening the ledger of a sweep that is new, or is gone on with: whatever isn't of the same sweep is refused."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bigtrain.config import groups
from bigtrain.config.errors import ConfigError, InputError
from bigtrain.config.overrides import key_of
from bigtrain.config.untrusted import check_contained
from bigtrain.run.directory import EXTENDABLE, RunDirectory
from bigtrain.sweep.job import forget, run_dir_of
from bigtrain.sweep.ledger import Ledger
from bigtrain.sweep.member import Member, Settings, check_same, members
from bigtrain.sweep.space import Space
from bigtrain.sweep.trial import ENDED, Trial

COMPARED = ("steps", "stop_at", "eval_every", "early_stopping", "on_nonfinite", "nonfinite_limit")
"""Keys that may differ when a run is continued, and not when a sweep is: its trials are compared with each other."""

OTHERWISE = ("logger", *(key for key in EXTENDABLE if key not in COMPARED))
"""Keys that change how trials run, and not what becomes of them: a sweep may go on with other ones."""


def opened(
    folder: Path,
    facts: dict[str, Any],
    retry: bool,
    first: Sequence[Member] = (),
    space: Space = (),
    check: Callable[[Ledger], None] = lambda ledger: None,
) -> Ledger:
    """The ledger of a sweep, new or to be continued; that of another sweep is refused with what differs.

    Args:
        folder: the sweep's directory.
        facts: what has to be the same when a sweep goes on.
        retry: try again what has failed.
        first: the trials of the first round. Where the ledger is gone they are taken from what was trained, and a
            directory among them in which something else was trained is refused.
        space: what is swept: an interpolation that is typed in it may be a trial's.
        check: refuses what else has to be the same.

    Raises:
        InputError: when the folder holds another sweep, or can't be written.
    """
    there = (folder / "ledger.sqlite").exists()
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if not there and not all(_is_ours(name) or ("trials" in names and _is_answer(name)) for name in names):
        raise InputError(f"sweep_dir: {str(folder)!r} is not empty and holds no sweep\n  choose another sweep_dir")
    for name in names:
        if _is_answer(name) and (folder / name).is_dir():
            raise InputError(f"sweep_dir: {str(folder / name)!r} is a folder, and a file is to be written there")
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        problem = f"can't write to {str(folder)!r}: {error.strerror or error}"
        raise InputError(f"sweep_dir: {problem}\n  choose another folder: sweep_dir=…") from error
    check_contained(folder)
    for member in first if not there else ():
        check_same(member)
    ledger = Ledger(folder)
    try:
        ledger.note(facts)
        _check_facts(ledger, facts)
        _check_trials(ledger, facts["keys"], space)
        check(ledger)
        for trial in ledger.trials() if retry else []:
            if trial.state == "failed":
                forget(folder / trial.directory)
                ledger.record(dataclasses.replace(trial, state="waiting", error=None))
    except BaseException:
        ledger.close()
        raise
    return ledger


def ordered(space: Space, folder: Path) -> Space:
    """What is swept in the order in which the sweep in a folder has it: in whatever order it is typed, it is the same.

    Draws and columns follow this order.
    """
    path = folder / "ledger.sqlite"
    if path.is_symlink() or not path.is_file():
        return space
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            (found,) = db.execute("SELECT value FROM facts WHERE name='keys'").fetchone() or ("[]",)
        keys = json.loads(found)
    except (sqlite3.Error, ValueError, TypeError, RecursionError):  # what is wrong with it is told when it is opened
        return space
    known = {dimension.key: dimension for dimension in space}
    same = isinstance(keys, list) and sorted(map(str, keys)) == sorted(known)
    return tuple(known[str(key)] for key in keys) if same else space


def check_unchanged(trials: Sequence[Trial], job: Callable[[Trial], tuple[str, ...]], settings: Settings) -> None:
    """Refuses to go on where a file that configs are made of has changed: trials before and after were of two configs.

    What is typed is compared by the ledger. Of each swept choice of a group, one trial tells of its file.

    Args:
        trials: all so far.
        job: what would be typed for a trial.
        settings: what the jobs share.

    Raises:
        InputError: with what differs.
    """
    files = {"experiment", *groups.groups(groups.search_dirs(settings.config_dir))}
    told: set[tuple[str, str]] = set()
    for trial in trials:
        chosen = {("", ""), *(item for item in trial.values.items() if item[0] in files)}
        if chosen <= told or not RunDirectory.exists(run_dir_of(job(trial))):
            continue
        told |= chosen
        try:
            (member,) = members([job(trial)], settings)
        except ConfigError:  # a choice that is gone; its trials are what they are
            continue
        check_same(member, recorded=trial.state in ENDED)


def _is_ours(name: str) -> bool:
    """Whether something in a sweep's folder may be there before its ledger is: another launch may be making it."""
    return name in ("owners", "trials") or name.startswith("ledger.sqlite")


def _is_answer(name: str) -> bool:
    """Whether something in a sweep's folder is what it ended with: it stays where a ledger is taken away."""
    return name in ("results.csv", "report.html") or name.endswith((".png", ".partial"))


def _check_trials(ledger: Ledger, keys: Sequence[str], space: Space) -> None:
    """Refuses a ledger whose trials set more than the sweep varies: it may be a stranger's, and `plugins` is code."""
    typed = {(dimension.key, text) for dimension in space for text in dimension.choices}
    for trial in ledger.trials():
        strange = (item for item in trial.values.items() if "${" in item[1] and item not in typed)
        other = next((key for key in trial.values if key not in keys), None) or next(strange, (None,))[0]
        if other is not None:
            problem = f"trial {trial.number} sets {other}={trial.values[other]!r}, which this sweep doesn't vary so"
            raise InputError(f"{ledger.path}: {problem}\n  choose another sweep_dir")


def _check_facts(ledger: Ledger, facts: dict[str, Any]) -> None:
    """Refuses the ledger of another sweep, with what differs."""
    known = ledger.facts()
    different = [name for name in facts if _told(name, known.get(name)) != _told(name, facts[name])]
    if different:
        folder = str(ledger.folder)
        there, here = ({name: _told(name, found.get(name)) for name in different} for found in (known, facts))
        lines = "\n".join(f"  {name}: {there[name]!r} there, {here[name]!r} here" for name in different)
        raise InputError(f"sweep_dir: {folder!r} belongs to another sweep\n{lines}\n  choose another sweep_dir")


def _told(name: str, value: Any) -> Any:
    """A fact, as far as it has to be the same."""
    if name != "base" or not isinstance(value, list):
        return value
    return [text for text in value if key_of(str(text)).split(".")[0] not in OTHERWISE]
