"""What a save says when the disk fails."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bigtrain.config.errors import RunError


@contextmanager
def reported(directory: Path) -> Generator[None]:
    """A failing disk as one message."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:  # Orbax wraps the operating system's error in several of its own kinds
        text = " ".join(str(error).split())
        reason = "the disk is full" if "No space left" in text or "ENOSPC" in text else text[:300]
        raise RunError(f"{directory}: could not save: {reason}; earlier checkpoints are intact") from error
