"""The sweep that this process conducts: Hydra makes its sweeper, and calls its jobs, without being able to say which.

Kept in a module of its own: Hydra may execute those of its plugins again while a sweep is under way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bigtrain.sweep.conduct import Conductor

_UNDER_WAY: ContextVar[Conductor | None] = ContextVar("sweep", default=None)


@contextmanager
def conducted_by(conductor: Conductor) -> Iterator[None]:
    """What Hydra's sweeper does while the block runs."""
    token = _UNDER_WAY.set(conductor)
    try:
        yield
    finally:
        _UNDER_WAY.reset(token)


def under_way() -> Conductor | None:
    """The sweep that is conducted here; None in a process that only runs jobs of it."""
    return _UNDER_WAY.get()
