"""The peers' own Python environments: made on request, never a dependency of bigtrain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PINS = {
    "keras": ("keras==3.15.1", "jax==0.10.2", "tensorflow-cpu==2.21.0", "numpy>=2"),
    "torch": ("torch==2.13.0", "numpy>=2"),
}
"""What `setup` installs. On an accelerator, install the peers' builds for it yourself and name their Python."""


def make(names: Sequence[str], folder: Path, pip: Sequence[str]) -> None:
    """Makes environments with the pinned versions; `pip` is passed on to `pip install`."""
    private(folder)
    for name in names:
        target = folder / name
        print(f"{name}: {', '.join(PINS[name])} into {target}", flush=True)
        if not interpreter(target).exists():
            subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
        subprocess.run([str(interpreter(target)), "-m", "pip", "install", "--quiet", *pip, *PINS[name]], check=True)


def found(name: str, folder: Path, given: Mapping[str, str]) -> str | None:
    """The Python of an environment; None where there is none."""
    if name in given:
        return given[name]
    if name == "own":
        return sys.executable
    python = interpreter(folder / name)
    return str(python) if python.exists() else None


def interpreter(environment: Path) -> Path:
    """Where a virtual environment keeps its Python."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def private(folder: Path) -> Path:
    """A folder that git doesn't see."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    return folder


def missing(name: str) -> str:
    """What to say where there is none."""
    return f"there is no environment {name!r}: python scripts/bench.py setup {name}"
