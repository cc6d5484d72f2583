"""What to change where a run doesn't fit: the change that makes it fit and costs the least throughput."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bigtrain.config.errors import InputError


class DoesNotFit(InputError):
    """The run needs more memory than the devices have; the message says how much more, and what to change."""


@dataclass(frozen=True)
class Advice:
    """A change of the config."""

    changes: tuple[str, ...]  # overrides
    peak: int  # bytes on a device with them
    slowdown: float  # predicted step time with them over that without; of the same number of examples
    compiled: bool  # whether the changed program was compiled, or its memory estimated
    alters: str | None = None  # what is not the same as before: the batch, the precision

    def sentence(self) -> str:
        """One line for people."""
        how = "compiled" if self.compiled else "estimated"
        text = f"the cheapest change that makes it fit: {' '.join(self.changes)} ({self.peak / 1e9:.2f} GB, {how}"
        text += f"; {self.slowdown:.2f} times the step time" if self.slowdown > 1.005 else "; no slower"
        return text + (f"; {self.alters}" if self.alters else "") + ")"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "changes": list(self.changes), "peak_bytes": self.peak, "slowdown": self.slowdown,
            "compiled": self.compiled, "alters": self.alters,
        }  # fmt: skip
