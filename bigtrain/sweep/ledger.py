"""The ledger of a sweep: one SQLite file that knows every trial, and who is running it.

A process that works on a sweep holds a lock on a file of its own for as long as it lives, so that a trial whose process
was killed is told from one that is still running, also by another process on the same disk.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from bigtrain.config.errors import InputError, RunError
from bigtrain.config.untrusted import parsed_json
from bigtrain.sweep.job import forget
from bigtrain.sweep.space import identity
from bigtrain.sweep.trial import Proposal, State, Trial

VERSION = 1
WAIT_SECONDS = 60.0  # for another process that writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, swept TEXT NOT NULL, state TEXT NOT NULL,
    until REAL NOT NULL, parent INTEGER, scores TEXT NOT NULL, steps INTEGER NOT NULL, seconds REAL NOT NULL,
    error TEXT, owner TEXT, runs INTEGER NOT NULL DEFAULT 0
);
"""
_COLUMNS = "number, swept, state, until, parent, scores, steps, seconds, error"


def directory_of(number: int) -> str:
    """The run directory of a trial, relative to the sweep's."""
    return f"trials/{number:04d}"


class Ledger:
    """The trials of one sweep on disk.

    Args:
        folder: the sweep's directory.

    Raises:
        InputError: when the file can't be opened, or is no ledger.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "ledger.sqlite"
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        if self.path.is_symlink():
            raise InputError(f"{self.path}: is a link; a ledger is a file of the sweep's own")
        try:
            (folder / "owners").mkdir(exist_ok=True, mode=0o700)
            self._lock = open(folder / "owners" / self.owner, "w", encoding="utf-8")  # noqa: SIM115  held while we live
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            hint = "choose another folder: sweep_dir=…"
            raise InputError(f"sweep_dir: can't keep a ledger in {str(folder)!r}: {error}\n  {hint}") from error
        try:
            self._db.executescript(_SCHEMA)
            found = self.facts().setdefault("version", VERSION)
            if found != VERSION:
                raise InputError(f"{self.path}: is a ledger of version {found}; this bigtrain reads version {VERSION}")
        except (sqlite3.Error, InputError) as error:
            self._end()
            raise error if isinstance(error, InputError) else _failed(self.path, error) from error

    def facts(self) -> dict[str, Any]:
        """What is written down of the sweep as a whole."""
        with self._writing() as db:
            found = list(db.execute("SELECT name, value FROM facts"))
        return {name: parsed_json(str(value), f"{self.path}: {name}") for name, value in found}

    def note(self, facts: Mapping[str, Any]) -> None:
        """Writes down what isn't there yet; what is there stays."""
        with self._writing() as db:
            for name, value in {"version": VERSION, **facts}.items():
                db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def spent(self, seconds: float) -> float:
        """Adds to the wall time of the sweep; returns all of it."""
        with self._writing() as db:
            before = db.execute("SELECT value FROM facts WHERE name='seconds'").fetchone()
            whole = (json.loads(before[0]) if before else 0.0) + seconds
            db.execute("INSERT OR REPLACE INTO facts VALUES ('seconds', ?)", (json.dumps(whole),))
        return float(whole)

    def trials(self) -> list[Trial]:
        """Every trial, in the order in which they were proposed."""
        with self._writing() as db:
            rows = list(db.execute(f"SELECT {_COLUMNS} FROM trials ORDER BY number"))
        try:
            return [_trial(self.path, row) for row in rows]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{self.path}: is no ledger, or damaged: {str(error)[:100]}") from error

    def propose(self, proposals: Sequence[Proposal]) -> None:
        """Takes up a round of a search; what is there already, however its values are written, stays as it is."""
        with self._writing() as db:
            seen: dict[str, int] = {}
            for item in proposals:
                if item.trial is not None:
                    again = "UPDATE trials SET until=?, state='waiting' WHERE number=? AND until<? AND state='done'"
                    db.execute(again, (item.until, item.trial, item.until))
                    continue
                swept = json.dumps(dict(item.values))
                origin = [] if item.parent is None else [item.parent, item.until]
                alike = json.dumps([identity(item.values), *origin])
                seen[alike] = seen.get(alike, -1) + 1
                key = f"{alike} {seen[alike]}" if seen[alike] else alike
                new = "INSERT OR IGNORE INTO trials (key, swept, state, until, parent, scores, steps, seconds, number)"
                new += " VALUES (?, ?, 'waiting', ?, ?, '{}', 0, 0, (SELECT COALESCE(MAX(number) + 1, 0) FROM trials))"
                taken = db.execute(new, (key, swept, item.until, item.parent))
                if taken.rowcount:  # an outcome that is there already is of a ledger that is gone
                    forget(self.folder / directory_of(int(taken.lastrowid or 0)))

    def give_up(self, numbers: Sequence[int]) -> None:
        """Marks trials that rest as pruned: no search will go on with them."""
        with self._writing() as db:
            for number in numbers:
                db.execute("UPDATE trials SET state='pruned' WHERE number=? AND state='done' AND until<1", (number,))

    def claim(
        self, most: int | None = None, of: Callable[[list[Trial]], Sequence[Trial]] = lambda trials: trials
    ) -> list[Trial]:
        """Takes trials that wait, so that nobody else runs them; those of processes that are gone wait again.

        Args:
            most: how many; None takes all.
            of: which of all trials may be taken.
        """
        with self._writing() as db:
            self._release_dead(db)
            rows = list(db.execute(f"SELECT {_COLUMNS} FROM trials ORDER BY number"))
            allowed = {
                trial.number for trial in of([_trial(self.path, row) for row in rows]) if trial.state == "waiting"
            }
            rows = [row for row in rows if row[0] in allowed][:most]
            for row in rows:
                mark = "UPDATE trials SET state='running', owner=?, runs=runs+1 WHERE number=?"
                db.execute(mark, (self.owner, row[0]))
        return [_trial(self.path, row) for row in rows]

    def record(self, trial: Trial) -> None:
        """Writes down how a trial ended."""
        scores = json.dumps({repr(until): list(values) for until, values in trial.scores.items()})
        values = (trial.state, scores, trial.steps, trial.seconds, trial.error, trial.number)
        with self._writing() as db:
            db.execute(
                "UPDATE trials SET state=?, scores=?, steps=?, seconds=?, error=?, owner=NULL WHERE number=?", values
            )

    def release(self) -> None:
        """Gives back what this process has claimed and not ended."""
        with self._writing() as db:
            db.execute("UPDATE trials SET state='waiting', owner=NULL WHERE state='running' AND owner=?", (self.owner,))

    def close(self) -> None:
        """Gives back, and ends this process's part in the sweep."""
        try:
            self.release()
        finally:
            self._end()

    @property
    def stop(self) -> Path:
        """A file that is there once this process has been told to end, for jobs that it has no other way to reach."""
        return self.folder / "owners" / f"{self.owner}.stop"

    def _end(self) -> None:
        self._db.close()
        self.stop.unlink(missing_ok=True)
        self._lock.close()
        (self.folder / "owners" / self.owner).unlink(missing_ok=True)

    def _release_dead(self, db: sqlite3.Connection) -> None:
        for (owner,) in list(db.execute("SELECT DISTINCT owner FROM trials WHERE state='running'")):
            if owner != self.owner and not self.lives(owner):
                again = "UPDATE trials SET state='waiting', owner=NULL WHERE state='running' AND owner IS ?"
                db.execute(again, (owner,))

    def lives(self, owner: str | None) -> bool:
        """Whether the process with this name still works on the sweep."""
        if not owner or not Path(owner).name:
            return False
        path = self.folder / "owners" / Path(owner).name
        try:
            with open(path, "r+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, IsADirectoryError):
            return False
        except OSError:
            return True
        path.unlink(missing_ok=True)
        return False

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; a failing disk is a `RunError`, and what was written before stays."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise _failed(self.path, error) from error


def _failed(path: Path, error: sqlite3.Error) -> RunError | InputError:
    text = str(error)
    if any(
        sign in text for sign in ("not a database", "malformed", "no such column", "no such table", "no column named")
    ):
        hint = "move it away and type the same command again: what was trained in trials/ is taken up"
        return InputError(f"{path}: is no ledger, or damaged: {text}\n  {hint}")
    hint = "what was trained is in trials/; type the same command again to go on"
    return RunError(f"{path}: can't be written: {text}\n  {hint}")


def _trial(path: Path, row: Sequence[Any]) -> Trial:
    """A row of the ledger, which may be a stranger's."""
    number, swept, state, until, parent, scores, steps, seconds, error = row
    try:
        if state not in get_args(State):
            raise ValueError(f"the state {state!r}")
        measured = {float(at): tuple(map(float, values)) for at, values in json.loads(scores).items()}
        values = {str(key): str(value) for key, value in json.loads(swept).items()}
        origin, told = None if parent is None else int(parent), None if error is None else str(error)
        numbers = (origin, measured, int(steps), float(seconds), told)
        return Trial(int(number), values, directory_of(int(number)), state, float(until), *numbers)
    except (ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise InputError(f"{path}: trial {number!r} is damaged: {problem}") from problem
