"""What every attack of the hostile tests shares: the places, the secret, and what must not have happened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from command import Outcome, bigtrain, files

SECRET = "canary-7f3a9c-of-the-hostile-tests"
"""Stands in a file outside of everything that is loaded, and in the environment; nobody may repeat it."""


@dataclass(frozen=True)
class Place:
    """Where an attack happens.

    Args:
        work: the working directory.
        came: the folder that came from a stranger.
        outside: a folder beside it that belongs to the user: `secret.txt` holds the secret.
    """

    work: Path
    came: Path
    outside: Path

    @property
    def secret(self) -> Path:
        """The file that must not be read."""
        return self.outside / "secret.txt"

    @property
    def canary(self) -> Path:
        """The file that appears if a stranger's code runs."""
        return self.outside / "executed"

    @classmethod
    def make(cls, folder: Path) -> Place:
        """The folders, with the secret and something that could be overwritten or deleted."""
        place = cls(folder / "work", folder / "work" / "came", folder / "outside")
        for path in (place.work, place.came, place.outside, place.outside / "5"):
            path.mkdir()
        place.secret.write_text(f"{SECRET}\n")
        (place.outside / "5" / "kept.txt").write_text("kept")
        return place

    def state(self) -> dict[str, str]:
        """All that lies outside of what came from the stranger, with a hash of each file."""
        found = {}
        for name in files(self.work.parent):
            path = Path(name)
            if self.came not in path.parents:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        return found


@dataclass(frozen=True)
class Attack:
    """Something hostile: `make` lays it out and returns the command that a person would type with it.

    Args:
        name: what it is.
        make: from the place to the command's words.
        told: a part of the first line of the answer.
    """

    name: str
    make: Callable[[Place], Sequence[str]]
    told: str


def problems(attack: Attack, place: Place) -> list[str]:
    """What is wrong with how an attack was met: nothing, when the list is empty."""
    words = attack.make(place)
    before = place.state()
    done = bigtrain(*words)
    found = [*_answer(done, attack.told)]
    after = place.state()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    found += [f"it changed {changed}"] if changed else []
    found += ["it executed the canary"] if place.canary.exists() else []
    written = [Path(name) for name in files(place.came)]
    late = [path for path in written if path.is_file() and path.stat().st_mtime > place.secret.stat().st_mtime]
    found += [f"{path} repeats the secret" for path in late if not path.is_symlink() and _has_secret(path)]
    return found


def _has_secret(path: Path) -> bool:
    return SECRET.encode() in path.read_bytes()


def _answer(done: Outcome, told: str) -> list[str]:
    found = []
    first = done.err.splitlines()[0] if done.err else ""
    if done.code != 2:
        found.append(f"exit code {done.code}, not 2")
    if not first.startswith("error: ") or told not in first:
        found.append(f"the first line is {first!r}, which doesn't tell {told!r}")
    if len(first) > 600 or done.err.count("\n") > 6:
        found.append(f"the answer is long: {len(first)} characters, {done.err.count(chr(10))} lines")
    if "Traceback" in done.err + done.out:
        found.append("there is a traceback")
    if SECRET in done.err + done.out:
        found.append("the answer repeats the secret")
    if any(ord(sign) < 32 and sign != "\n" for sign in done.err):
        found.append("the answer has control characters")
    return [*found, done.err[:1500]] if found else []
