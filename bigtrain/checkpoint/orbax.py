"""Orbax, which writes and reads the arrays of a checkpoint."""

from __future__ import annotations

import importlib
import logging
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bigtrain.checkpoint import leaves, pattern
from bigtrain.parallel import distributed

FILES = 64  # that a process writes a large state to, about; of the values of a file, a copy is made as it is written
LEAST_BYTES = 4 << 20  # of each
AT_ONCE = 10  # of them are made

LOCK = threading.Lock()
"""Saves of several runs in one process come one by one: Orbax would take each other's signals for their own."""


def make_ready() -> None:
    """Before the first save of several processes, to be called by all: what that one would have to wait for.

    Orbax is imported in a thread, and the barrier that it has on the devices is compiled here.
    """
    from jax.experimental import multihost_utils

    wanted = ("orbax.checkpoint",)
    threading.Thread(target=importlib.import_module, args=wanted, name="bigtrain-orbax", daemon=True).start()
    multihost_utils.sync_global_devices("bigtrain")


def file_bytes(size: int) -> int | None:
    """The size of the files in which a process writes so many bytes; None for one, in which `pattern` has small states.

    Orbax's own choice is 2 GiB: until such a file is full, all that goes into it is in memory a second time.
    """
    return None if size <= pattern.MOST_BYTES else max(LEAST_BYTES, size // FILES)


def encoded_bytes(size: int) -> int:
    """What it takes to write so many bytes, beside them."""
    return min(size, AT_ONCE * (file_bytes(size) or size))


class Checkpointer:
    """Writes in the background and says nothing by itself; to be closed.

    It is Orbax's `StandardCheckpointer`, but for a second copy of NumPy arrays: what it is given is nobody else's.
    """

    def __init__(self) -> None:
        import orbax.checkpoint as ocp  # 0.5 s, so only when something is saved or restored

        for name in ("absl", "asyncio", "concurrent.futures"):  # what they log of a failed save is raised in `wait`
            logging.getLogger(name).setLevel(logging.CRITICAL)
        handlers = ocp.type_handlers
        registry = handlers.create_type_handler_registry(
            (np.ndarray, handlers.NumpyHandler(deepcopy_host_arrays=False)),
            *((kind, handlers.get_type_handler(kind)) for kind in (jax.Array, int, float)),
        )
        self._library: Any = ocp
        self._orbax = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler(type_handler_registry=registry))

    def save(self, folder: Path, state: Any) -> None:
        """Begins to write; the arrays must not change before it is done."""
        own = leaves.size(state) // distributed.current().count
        args = self._library.args.PyTreeSave(state, ocdbt_target_data_file_size=file_bytes(own))
        self._orbax.save(folder, args=args)

    def restore(self, folder: Path, abstract: Any) -> Any:
        """The arrays, as the shardings of the abstract ones say."""
        how = self._library.checkpoint_utils.construct_restore_args(abstract)
        return self._orbax.restore(folder, args=self._library.args.PyTreeRestore(abstract, restore_args=how))

    def wait_until_finished(self) -> None:
        """Raises what went wrong since."""
        self._orbax.wait_until_finished()

    def close(self) -> None:
        """Waits, too."""
        self._orbax.close()
