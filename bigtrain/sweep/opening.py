"""A sweep's directory, new or to be gone on with: that of another sweep is refused with what differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigtrain.config.errors import InputError
from bigtrain.config.untrusted import check_contained
from bigtrain.sweep.job import forget
from bigtrain.sweep.ledger import Ledger
from bigtrain.sweep.member import Member, check_same
from bigtrain.sweep.space import Space


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
    different = [name for name in facts if known.get(name) != facts[name]]
    if different:
        folder = str(ledger.folder)
        lines = "\n".join(f"  {name}: {known.get(name)!r} there, {facts[name]!r} here" for name in different)
        raise InputError(f"sweep_dir: {folder!r} belongs to another sweep\n{lines}\n  choose another sweep_dir")


def opened(folder: Path, facts: dict[str, Any], retry: bool, first: Sequence[Member] = (), space: Space = ()) -> Ledger:
    """The ledger of a sweep, new or to be continued; that of another sweep is refused with what differs.

    Args:
        folder: the sweep's directory.
        facts: what has to be the same when a sweep goes on.
        retry: try again what has failed.
        first: the trials of the first round. Where the ledger is gone they are taken from what was trained, and a
            directory among them in which something else was trained is refused.
        space: what is swept: an interpolation that is typed in it may be a trial's.

    Raises:
        InputError: when the folder holds another sweep, or can't be written.
    """
    there = (folder / "ledger.sqlite").exists()
    if not there and folder.is_dir() and any(entry.name not in ("owners", "trials") for entry in folder.iterdir()):
        raise InputError(f"sweep_dir: {str(folder)!r} is not empty and holds no sweep\n  choose another sweep_dir")
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
        for trial in ledger.trials() if retry else []:
            if trial.state == "failed":
                forget(folder / trial.directory)
                ledger.record(dataclasses.replace(trial, state="waiting", error=None))
    except BaseException:
        ledger.close()
        raise
    return ledger
