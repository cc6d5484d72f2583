"""A trace of a few steps, for Perfetto and TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax

from bigtrain.data.placement import Dispatch
from bigtrain.metrics import Mean
from bigtrain.run.clock import Clock
from bigtrain.train.state import TrainState

NEVER = sys.maxsize


@dataclass
class Profile:
    """Records what the host and the devices do from the end of step `first` to the end of step `last`.

    Args:
        first: the step after which the trace begins.
        last: the last step in the trace.
        folder: where it is written.
        clock: is told of the time that it takes.
        say: is told what went wrong; training goes on without the trace.
    """

    first: int
    last: int
    folder: Path
    clock: Clock
    say: Callable[[str], None]
    traces: bool = True  # of several processes, process 0 does
    _tracing: bool = False
    _begun: bool = False

    @classmethod
    def of(
        cls, asked: tuple[int, int], start: int, steps: int, folder: Path, clock: Clock, say: Callable[[str], None],
        *, traces: bool = True,
    ) -> Profile | None:  # fmt: skip
        """The trace of a run from `start` to `steps`, as near as can be to the (first step, number) asked for.

        None where fewer than two steps are left: the trace begins between two steps.
        """
        number = min(asked[1], steps - start - 1)
        if number < 1:
            say("note: no trace: it begins between two steps, and fewer are left")
            return None
        first = min(max(asked[0] - 1, start + 1), steps - number)
        if (first + 1, number) != asked:
            say(f"note: the trace holds steps {first + 1:,} to {first + number:,}")
        return cls(first, first + number, folder, clock, say, traces)

    def after(self, step: int) -> int:
        """The step after which the trace begins, and then that with which it ends."""
        return next((due for due in (self.first, self.last) if due > step), NEVER)

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Nothing to record."""

    def __call__(self, step: int, state: TrainState) -> None:
        """Begins or ends the trace, with nothing under way on the devices."""
        with self.clock.part("step"):
            jax.block_until_ready(state)
        with self.clock.part("profile"):
            if step == self.first and self.traces:
                self._begin()
            else:
                self._end()

    def _begin(self) -> None:
        self._begun = True
        with self._reported():
            self.folder.mkdir(parents=True, exist_ok=True)
            options = jax.profiler.ProfileOptions()
            options.host_tracer_level, options.python_tracer_level = 3, 0  # each operation; no Python calls
            jax.profiler.start_trace(self.folder, create_perfetto_trace=True, profiler_options=options)
            self._tracing = True

    def close(self) -> None:
        """Writes the trace down, if one has begun; says so, if the run ended before that."""
        if self.traces and not self._begun:
            self.say(f"note: no trace: the run ended before step {self.first + 1:,}, with which it would begin")
        self._end()

    def _end(self) -> None:
        if self._tracing:
            self._tracing = False
            with self._reported():
                jax.profiler.stop_trace()

    @contextmanager
    def _reported(self) -> Generator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            self.say(f"note: {self.folder}: no trace could be written: {' '.join(str(error).split())[:200]}")
