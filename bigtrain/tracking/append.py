"""Lines at the end of a file, each of them whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Appended:
    """A file that grows by whole lines; what a full disk cut short is taken back, so the line can be written later.

    Args:
        path: the file; it is made anew if it is gone when a line comes after one that failed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def write(self, text: str) -> None:
        """Writes lines.

        Raises:
            OSError: nothing of them was written.
        """
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            state = os.fstat(self._file)
            if not state.st_nlink:
                raise FileNotFoundError(2, "was deleted", str(self.path))
            rest = text.encode()
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, state.st_size)
                raise
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)
