"""TensorBoard event files, written by tensorboardX."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FLUSH_SECONDS = 10.0  # a viewer sees lines that are older


class TensorBoard:
    """Scalars for TensorBoard in the folder tensorboard/ of the run (`tensorboard --logdir RUN`)."""

    def __init__(self, *, directory: Path, resumed: int | None = None) -> None:
        """Opens a new event file.

        Args:
            directory: the run directory.
            resumed: the step a run continues from; the viewer drops what earlier files hold beyond it.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        folder = directory / "tensorboard"
        folder.mkdir(exist_ok=True)
        # tensorboardX names its file by the second and overwrites it when a run is reopened within one
        suffix = f".{os.getpid()}.{time.time_ns()}"
        self._summary: Any = summary_pb2.Summary  # generated classes: no type checker knows them
        self._event: Any = event_pb2.Event
        # the file itself: tensorboardX's own writer has a queue between processes and two threads for each
        self._writer: Any = EventsWriter(str(folder / "events"), suffix)
        if resumed is not None:
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(self._event(session_log=session), resumed + 1)
        self._flush()

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """See `Logger`; one event for all numbers of a step, which costs a fifth of an event for each."""
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(self._event(summary=self._summary(value=values)), step)
        if time.monotonic() >= self._due:
            self._flush()

    def close(self) -> None:
        """See `Logger`."""
        self._writer.close()

    def _write(self, event: Any, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        self._writer.write_event(event)

    def _flush(self) -> None:
        self._writer.flush()
        self._due = time.monotonic() + FLUSH_SECONDS
