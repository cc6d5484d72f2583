"""What a member of a group needs beside it to be tried: other choices, files, and a size that two cores can train.

Only members that can't be tried with all the defaults are named; keys are `group=choice`, or `group=prefix/*`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path

from support import write_idx, write_npz

Partners = Sequence[str] | Callable[[Path], Sequence[str]]

PARTNERS: dict[str, Partners] = {
    "data=text": ["model=rnn", "data.length=12"],
    "data=npz": lambda folder: [f"data.path={write_npz(folder / 'set.npz')}"],
    "data=idx": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "data=mnist": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "data=fashion_mnist": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "experiment=fashion_*": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "task=regression": lambda folder: ["data=npz", f"data.path={write_npz(folder / 'set.npz')}"],
    "task=language_modeling": ["model=rnn", "data=text", "data.length=12"],
    "task=elbo": ["model=vae"],
}


def partners(group: str, name: str, folder: Path) -> list[str]:
    """The overrides that a member needs beside its own; files are written into `folder`."""
    found: list[str] = []
    for pattern, needed in PARTNERS.items():
        if fnmatch.fnmatchcase(f"{group}={name}", pattern):
            found += needed(folder) if callable(needed) else needed
    return found
