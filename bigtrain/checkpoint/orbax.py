"""Orbax, which writes and reads the arrays of a checkpoint."""

from __future__ import annotations

import importlib
import logging
import threading
from typing import Any

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


def checkpointer() -> Any:
    """One that writes in the background and says nothing by itself; to be closed."""
    import orbax.checkpoint as ocp  # 0.5 s, so only when something is saved or restored

    for name in ("absl", "asyncio", "concurrent.futures"):  # what they log of a failed save is raised in `wait`
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ocp.StandardCheckpointer()
