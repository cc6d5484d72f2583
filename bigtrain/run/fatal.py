"""What a run can do without: a picture, a sample, a file for people."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def not_fatal(what: str, say: Callable[..., None]) -> Generator[None]:
    """A disk that fails in the block costs the run what it was about to write, and nothing else."""
    try:
        yield
    except OSError as error:
        say(f"{what} could not be written: {error.strerror or error}", style="yellow")
