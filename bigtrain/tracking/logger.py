"""What every logger provides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


@runtime_checkable
class Logger(Protocol):
    """Receives named numbers as the run goes on; its constructor may ask for `directory` and `resumed` (a step)."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Records numbers that hold after `step` steps; names are like `train/loss` or `validation/accuracy`."""
        ...

    def close(self) -> None:
        """Writes what is still buffered."""
        ...
