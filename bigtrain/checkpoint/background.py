"""Work that goes on beside training, one piece at a time; what goes wrong in it is raised where it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bigtrain.parallel import allocator


class Background:
    """A thread for each piece of work."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, work: Callable[[], None], size: int) -> None:
        """Starts a piece of work on so many bytes, after the one before it; what it needs of memory goes back."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(work, size), name="bigtrain-checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the work is done; raises the error that ended it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None], size: int) -> None:
        try:
            with allocator.apart(size):
                work()
        except BaseException as error:
            self._error = error
