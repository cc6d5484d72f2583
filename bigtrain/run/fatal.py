"""What a run can do without: a picture, a sample, a file for people."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def not_fatal(what: str, say: Callable[..., None], *, whatever: bool = False) -> Generator[None]:
    """A disk that fails in the block costs the run what it was about to write, and nothing else.

    Args:
        what: was to be written.
        say: is told that it was not, and why.
        whatever: any other error, as of a library that draws, costs no more.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not whatever:
            raise
        why = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
        say(f"{what} could not be written: {why.splitlines()[0]}", style="yellow")
