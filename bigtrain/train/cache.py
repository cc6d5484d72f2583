"""The persistent compilation cache, and how often it helped."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import jax

LEAST_SECONDS = 0.1  # a program that compiles sooner is not kept
_HIT, _MISS = "/jax/compilation_cache/cache_hits", "/jax/compilation_cache/cache_misses"


@dataclass
class CacheCount:
    """Programs found in the cache, and programs compiled anew, since the process started."""

    hits: int = 0
    misses: int = 0

    def since(self, before: CacheCount) -> CacheCount:
        """What was counted after `before`."""
        return CacheCount(self.hits - before.hits, self.misses - before.misses)

    def copy(self) -> CacheCount:
        """The count as it is now."""
        return CacheCount(self.hits, self.misses)


COUNT = CacheCount()


def cache_dir() -> Path:
    """`$BIGTRAIN_CACHE`, or bigtrain's folder in the user's cache directory."""
    named = os.environ.get("BIGTRAIN_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bigtrain"


def enable() -> bool:
    """Turns the cache on for programs that take `LEAST_SECONDS` to compile; False when its folder can't be written."""
    folder = cache_dir() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # who can write to it decides what is run
    except OSError:
        return False
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return True


def _count(event: str, **_: object) -> None:
    if event == _HIT:
        COUNT.hits += 1
    elif event == _MISS:
        COUNT.misses += 1


jax.monitoring.register_event_listener(_count)
