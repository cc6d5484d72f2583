"""The memory of the host that a state is copied to when it is saved, made ready before the first save needs it.

The system hands out memory page by page, as each is first written to; training would wait for that in its first save
(benchmarks/LOG.md). So the pages of a large copy are touched once while the first steps run, and every save copies to
the same ones. It is as much memory as a save takes anyway.
"""

from __future__ import annotations

import math
import mmap
import sys
import threading
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import jax
import numpy as np

LARGE = 32 << 20  # bytes of a state; the pages of less take a few milliseconds
PAGE = 4096  # bytes of the smallest pages that a processor has: each is touched, however large it is
ALIGNED = 64  # bytes of which each array begins at a multiple
PIECE = 64 << 20  # bytes that are touched without looking up whether they are still wanted


class HostMemory:
    """Room for one copy of a state at a time; by itself it holds nothing."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []
        self._thread: threading.Thread | None = None
        self._wanted = False

    def prepare(self, state: Any) -> None:
        """Begins to make room for copies of this state and of others of its shapes; nothing for a small one.

        Returns at once; the pages are touched in a thread. Of the state's leaves shape and dtype are looked at.
        """
        self.release()
        leaves = jax.tree.leaves(state)
        if sum(map(_bytes, leaves)) < LARGE:
            return
        try:
            self._arrays = _mapped(leaves)  # of which nothing is there yet
        except (OSError, MemoryError):
            return  # the save will say so, if there is still none by then
        self._wanted = True
        self._thread = threading.Thread(target=self._touch, args=(self._arrays,), name="bigtrain-memory", daemon=True)
        self._thread.start()

    def arrays(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        """An array of the shape and dtype of each leaf, to be written to: the prepared ones, or new ones.

        The prepared ones are the same each time: the copy before must not be needed any more.
        """
        if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(array.shape, array.dtype) for array in self._arrays]:
            return _new(leaves)
        self._settle()
        return self._arrays

    def release(self) -> None:
        """Gives it back."""
        self._wanted = False
        self._settle()
        self._arrays = []

    def _settle(self) -> None:
        """Until no thread writes to the arrays any more."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _touch(self, arrays: Sequence[np.ndarray]) -> None:
        for array in arrays:
            content = array.reshape(-1).view(np.uint8)
            for at in range(0, content.size, PIECE):
                if not self._wanted:
                    return
                content[at : at + PIECE : PAGE] = 0  # NumPy lets other threads run meanwhile


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * int(leaf.dtype.itemsize)


def _new(leaves: Sequence[Any]) -> list[np.ndarray]:
    return [np.empty(leaf.shape, leaf.dtype) for leaf in leaves]


def _mapped(leaves: Sequence[Any]) -> list[np.ndarray]:
    """The same in one piece of small pages, which goes back to the system with the last of them.

    NumPy asks for large pages, for which the system may have to move others first: that takes 0.1 to 1 s for 500 MB,
    and small ones 0.2 to 0.4.
    """
    starts = list(accumulate((-(-_bytes(leaf) // ALIGNED) * ALIGNED for leaf in leaves), initial=0))
    own = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    memory = np.frombuffer(mmap.mmap(-1, starts[-1], **own), np.uint8)
    pieces = (memory[start : start + _bytes(leaf)] for leaf, start in zip(leaves, starts, strict=False))
    return [piece.view(leaf.dtype).reshape(leaf.shape) for leaf, piece in zip(leaves, pieces, strict=True)]
