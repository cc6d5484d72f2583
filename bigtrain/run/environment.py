"""What a run ran on: versions, devices, the commit of the working directory."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bigtrain

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "hydra-core")


def describe() -> dict[str, Any]:
    """Versions, devices, settings and commit, for `environment.json`; asks JAX for its devices."""
    from bigtrain.parallel.devices import all_devices, settings

    return {
        "bigtrain": bigtrain.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(_versions()),
        "devices": [f"{device.platform}:{device.device_kind}" for device in all_devices()],
        "settings": settings(),
        "git_commit": _git_commit(str(Path.cwd())),
        "command": ["bigtrain", *sys.argv[1:]],
    }


@functools.cache
def _versions() -> Mapping[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


@functools.cache  # what a process runs is what it has loaded, and two processes for each run of a sweep are many
def _git_commit(folder: str) -> str | None:
    """The commit of the working directory's repository, with '+changes' if files differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()
