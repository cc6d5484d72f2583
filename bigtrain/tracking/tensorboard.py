"""TensorBoard event files, written by tensorboardX."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """Scalars for TensorBoard in the folder tensorboard/ of the run (`tensorboard --logdir RUN`)."""

    def __init__(self, *, directory: Path, resumed: int | None = None) -> None:
        """Opens a new event file.

        Args:
            directory: the run directory.
            resumed: the step a run continues from; the viewer drops what earlier files hold beyond it.
        """
        from tensorboardX import SummaryWriter
        from tensorboardX.proto import summary_pb2

        # tensorboardX names its file by the second and overwrites it when a run is reopened within one
        suffix = f".{os.getpid()}.{time.time_ns()}"
        purge = None if resumed is None else resumed + 1
        self._summary: Any = summary_pb2.Summary  # a generated class: no type checker knows it
        self._writer: Any = SummaryWriter(str(directory / "tensorboard"), purge_step=purge, filename_suffix=suffix)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """See `Logger`; one event for all numbers of a step, which costs a fifth of an event for each."""
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.file_writer.add_summary(self._summary(value=values), step)

    def close(self) -> None:
        """See `Logger`."""
        self._writer.close()
