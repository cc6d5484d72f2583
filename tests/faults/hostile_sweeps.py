"""Sweeps that a stranger made: a ledger, and folders of trials."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hostile_runs
from attack import Attack, Place

from bigtrain.sweep.ledger import Ledger

SWEEP = ("fit", "-m", "seed=1,2", "steps=2", "model.widths=[8]", "sweep_dir=came")
FACTS = {
    "base": ["model.widths=[8]", "steps=2"], "keys": ["seed"], "intervals": {}, "objectives": ["loss:min"],
    "score": "last", "search": ["bigtrain.sweep.grid.Grid", {}],
}  # fmt: skip


def _ledger(*trials: dict[str, Any], **changes: Any) -> Callable[[Place], Sequence[str]]:
    """A ledger with these trials waiting to be run, of the sweep that is typed."""

    def make(place: Place) -> Sequence[str]:
        hostile_runs.package(place)
        made = Ledger(place.came)
        made.note(FACTS)
        made.close()
        with sqlite3.connect(place.came / "ledger.sqlite") as db:
            for number, swept in enumerate(trials):
                row = {"swept": json.dumps(swept), "state": "waiting", "scores": "{}", **changes}
                db.execute(
                    "INSERT INTO trials (number, key, swept, state, until, scores, steps, seconds)"
                    " VALUES (?, ?, ?, ?, 1, ?, 0, 0)",
                    (number, str(number), row["swept"], row["state"], row["scores"]),
                )
        db.close()
        return SWEEP

    return make


def _fact(name: str, text: str) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        words = _ledger()(place)
        with sqlite3.connect(place.came / "ledger.sqlite") as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, text))
        db.close()
        return words

    return make


def _with(change: Callable[[Path, Place], None]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        words = _ledger({"seed": "1"})(place)
        change(place.came, place)
        return words

    return make


def _replaced(came: Path, place: Place) -> None:
    (came / "ledger.sqlite").unlink()
    (came / "ledger.sqlite").symlink_to(place.secret)


def _trials(came: Path, place: Place) -> None:
    (came / "trials").symlink_to(place.outside)


def _trial(came: Path, place: Place) -> None:
    (came / "trials").mkdir()
    (came / "trials" / "0000").symlink_to(place.outside)


SWEEPS = [
    Attack("a ledger that allows a package", _ledger({"seed": "1", "plugins": "[evil_pkg]"}), "ledger.sqlite"),
    Attack("a ledger that names a target", _ledger({"seed": "1", "model._target_": "evil_pkg.MLP"}), "ledger.sqlite"),
    Attack("a ledger that runs elsewhere", _ledger({"run_dir": "../outside/run"}), "ledger.sqlite"),
    Attack("a ledger that asks for a secret", _ledger({"seed": "${oc.env:CANARY}"}), "ledger.sqlite"),
    Attack("a ledger with an override in a key", _ledger({"plugins=[evil_pkg] seed": "1"}), "ledger.sqlite"),
    Attack("a ledger whose values are a list", _ledger({}, swept="[1, 2]"), "ledger.sqlite"),
    Attack("a ledger that is deep", _ledger({}, swept="[" * 100_000), "ledger.sqlite"),
    Attack("a ledger with scores of no kind", _ledger({"seed": "1"}, scores='{"x": 1}'), "ledger.sqlite"),
    Attack("a ledger with a deep fact", _fact("base", "[" * 100_000), "ledger.sqlite"),
    Attack("a ledger with a fact of no JSON", _fact("base", "os.system(1)"), "ledger.sqlite"),
    Attack("a ledger of another version", _fact("version", '"9"'), "version"),
    Attack("a ledger that is a link", _with(_replaced), "link"),
    Attack("a ledger that is a text", _with(lambda came, place: _text(came / "ledger.sqlite")), "ledger.sqlite"),
    Attack("trials that are a link", _with(_trials), "link"),
    Attack("a trial that is a link", _with(_trial), "link"),
    Attack("a ledger that is a pipe", _with(lambda came, place: _pipe(came / "ledger.sqlite")), "ledger.sqlite"),
]


def _text(path: Path) -> None:
    path.write_text("evil" * 500)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
