"""The memory of this machine and of this process: what a CPU run can use, and what it takes beside its arrays."""

from __future__ import annotations

import functools
import resource
import sys
from pathlib import Path

LATER = 110 << 20
"""Bytes of what a run loads or makes after it is compiled: checkpoints, loggers, curves (docs/plan.md)."""

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def available(root: Path = Path("/")) -> int | None:
    """Bytes that processes can still take: what the system says, within the limit of the container.

    Args:
        root: of the file system that tells; another one in tests.
    """
    found = []
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    for limit, used in zip(_GROUPS, _USED, strict=True):
        most, now = (_number(root / name.lstrip("/")) for name in (limit, used))
        if most is not None and now is not None and most < 1 << 60:
            found.append(most - now)
    return max(0, min(found)) if found else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max": no limit
        return None


def peak_rss() -> int:
    """The most bytes of memory that this process has had so far."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def rss() -> int:
    """Bytes of memory that this process has now."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError):
        return peak_rss()


@functools.cache
def baseline() -> int:
    """Bytes of this process when it is first asked: once it has compiled a run, and given back what that took."""
    return rss()


@functools.cache
def compiling() -> int:
    """The most bytes of this process until it is first asked, before other programs add to it."""
    return peak_rss()


def process(arrays: int) -> int:
    """The most memory of a run on this CPU, foreseen by this process, which has compiled the same program.

    The peak is either the compiler's, which this process has seen, or that of training.

    Args:
        arrays: bytes that the run's program and data take, beyond what this process holds.
    """
    return max(compiling(), baseline() + arrays + LATER)
