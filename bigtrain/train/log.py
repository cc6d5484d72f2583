"""The log: the mean of each metric over so many steps, whatever the dispatches are that the steps ran in."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from bigtrain.data.placement import Dispatch
from bigtrain.metrics import Mean
from bigtrain.parallel import distributed
from bigtrain.run.clock import Clock
from bigtrain.tracking.logger import Logger
from bigtrain.train.finite import SKIPPED, Diverged
from bigtrain.train.pace import is_done
from bigtrain.train.skips import Skips
from bigtrain.train.state import TrainState


@dataclass
class Window:
    """The metric states of the steps since the last log line, summed step by step in f64.

    Step by step, so that the value doesn't depend on where the run was cut into dispatches, or interrupted.
    """

    sums: dict[str, list[float]] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)  # metrics of which the root of the mean is reported
    pending: list[tuple[Dispatch, dict[str, Mean]]] = field(default_factory=list)
    skips: Skips = field(default_factory=Skips)

    def drain(self, every: int = sys.maxsize) -> Iterator[int]:
        """Fetches what is still on the device and adds it up, stopping at the multiples of `every`, which it yields.

        Raises:
            Diverged: for a loss that is not finite.
            RunError: when too many steps in a row were skipped.
        """
        pending, self.pending = self.pending, []
        for dispatch, metrics in pending:
            host = jax.device_get(metrics)  # blocks on the device
            step, last = dispatch.step, dispatch.step + dispatch.number
            while step < last:
                end = min(last, (step // every + 1) * every)
                cut = (step - dispatch.step, end - dispatch.step)
                self._add(step, {name: _cut(mean, *cut) for name, mean in host.items()})
                step = end
                if end % every == 0:
                    yield end

    def means(self) -> dict[str, float]:
        """The weighted means, and an empty window."""
        means = {name: total / weight for name, (total, weight) in self.sums.items() if weight}
        means |= {name: math.sqrt(means[name]) for name in self.roots & means.keys()}
        self.sums.clear()
        return means

    def _add(self, step: int, host: dict[str, Mean]) -> None:
        """Adds the metric states of the steps after `step`."""
        finite = np.isfinite(host["loss"].total)
        if not finite.all():
            raise Diverged(step + int(np.argmin(finite)) + 1, "the loss")
        if SKIPPED in host:
            self.skips.add(step, host.pop(SKIPPED).total)
        for name, mean in host.items():
            if mean.root:
                self.roots.add(name)
            entry = self.sums.setdefault(name, [0.0, 0.0])
            for at, values in enumerate((mean.total, mean.weight)):
                for value in values.tolist():
                    entry[at] += value


def _cut(mean: Mean, first: int, last: int) -> Mean:
    """The states of some steps of a dispatch, on the host."""
    found: Mean = jax.tree.map(lambda values: np.asarray(values)[first:last], mean)
    return found


@dataclass
class Log:
    """Writes the mean of each metric over every `every` steps to every logger.

    No dispatch ends for it: each gives the metrics of all its steps. A line is written once they are there, or the next
    dispatch is under way: nothing waits for the device, nor does the device wait where calls return at once.
    """

    every: int
    loggers: Sequence[Logger]
    examples_a_step: int
    steps_per_epoch: float
    clock: Clock
    window: Window = field(default_factory=Window)
    _last: int | None = None  # the run's last step, once it is done
    _trained: float = 0.0  # seconds of training until the last line
    _steps: int = 0
    _speed: float = 0.0

    def after(self, step: int) -> int:
        """Never due but at the end."""
        return sys.maxsize

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Writes the lines that are due, and keeps the new states without waiting for them."""
        self.flush()
        self.window.pending.append((dispatch, metrics))
        self._steps += dispatch.number
        if distributed.current().count == 1 and is_done(metrics):  # processes find a loss that isn't finite together
            self.flush()

    def __call__(self, step: int, state: TrainState) -> None:
        """The run has come to its last step: what is left gets a line, too."""
        self._last = step

    def flush(self) -> None:
        """Writes the lines that are due, if any is."""
        pending = self.window.pending
        if pending:
            done = pending[-1][0].step + pending[-1][0].number
            if self._last is not None or done // self.every != pending[0][0].step // self.every:
                for step in self.window.drain(self.every):
                    self._line(step)
        if self._last is not None and self.window.sums:
            self._line(self._last)

    def _rate(self) -> float:
        """Examples a second since the steps of earlier lines; several lines may be of steps that were done together."""
        if self._steps:
            trained = self.clock.training()
            self._speed = self._steps * self.examples_a_step / max(trained - self._trained, 1e-9)
            self._trained, self._steps = trained, 0
        return self._speed

    def _line(self, step: int) -> None:
        scalars = {f"train/{name}": value for name, value in self.window.means().items()}
        scalars |= self.window.skips.scalars()
        scalars |= {"epoch": step / self.steps_per_epoch, "examples_per_second": self._rate()}
        with self.clock.part("logging"):
            for logger in self.loggers:
                logger.log(step, scalars)

    def settle(self, state: TrainState) -> None:
        """Writes the lines that are due, and waits for the device, so that no other hook is charged with its steps."""
        self.flush()
        jax.block_until_ready(state)

    def settle_all(self, state: Any) -> None:
        """The same, and adds up what belongs to the next line."""
        self.settle(state)
        for _ in self.window.drain():
            raise AssertionError("a window of all steps has no end")
