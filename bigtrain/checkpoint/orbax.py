"""Orbax, which writes and reads the arrays of a checkpoint."""

from __future__ import annotations

import logging
import threading
from typing import Any

LOCK = threading.Lock()
"""Saves of several runs in one process come one by one: Orbax would take each other's signals for their own."""


def checkpointer() -> Any:
    """One that writes in the background and says nothing by itself; to be closed."""
    import orbax.checkpoint as ocp  # 0.5 s, so only when something is saved or restored

    for name in ("absl", "asyncio", "concurrent.futures"):  # what they log of a failed save is raised in `wait`
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ocp.StandardCheckpointer()
