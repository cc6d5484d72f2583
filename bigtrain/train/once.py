"""What is worked out once for all runs on the same data in a process: its fingerprint, and splits on the devices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from bigtrain.data import fingerprint
from bigtrain.data.spec import Dataset, Source

Found = TypeVar("Found")


class Once:
    """Keeps what was worked out for a data set until nobody has this object any more; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Any, tuple[Any, Any]] = {}

    def fingerprint(self, dataset: Dataset) -> fingerprint.Fingerprint:
        """See `bigtrain.data.fingerprint`."""
        return self._of("fingerprint", dataset, lambda: fingerprint.fingerprint(dataset))

    def chunks(self, batching: Any, source: Source, make: Callable[[], Found]) -> Found:
        """What `make` gives for a split that is cut like this (`bigtrain.train.evaluate.Batching`)."""
        return self._of((batching.batch_size, batching.capacity), source, make)

    def _of(self, what: Any, owner: Any, make: Callable[[], Found]) -> Found:
        key = (what, id(owner))
        with self._lock:  # who comes second waits, rather than do the same
            if key not in self._known:
                self._known[key] = (owner, make())  # the owner, so that its id stays its own
            found: Found = self._known[key][1]
        return found
