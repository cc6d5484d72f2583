"""What happens beside the loop: logging, evaluation, samples, checkpoints. Each hook says at which steps it is due."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import RunError
from bigtrain.data.placement import Dispatch
from bigtrain.metrics import Mean
from bigtrain.parallel import distributed
from bigtrain.run.clock import Clock
from bigtrain.run.fatal import not_fatal
from bigtrain.tracking.logger import Logger, Tolerant
from bigtrain.train.finite import SKIPPED, Diverged, is_finite
from bigtrain.train.skips import Skips
from bigtrain.train.state import TrainState
from bigtrain.train.when import When


class Hook(Protocol):
    """Called by the loop."""

    def after(self, step: int) -> int:
        """The first step after `step` at which the hook is due."""
        ...

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Sees every dispatch: its metrics, still on the device, and the state after it."""
        ...

    def __call__(self, step: int, state: TrainState) -> bool | None:
        """Acts after `step` steps; the state may be read, and must not be kept. True ends the run here."""
        ...


@dataclass
class Periodic:
    """A hook that is due every so many steps, and doesn't look at the metrics of each dispatch."""

    every: int

    def after(self, step: int) -> int:
        """The next multiple of `every`."""
        return (step // self.every + 1) * self.every

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Nothing to record."""


@dataclass
class Window:
    """The metric states of the steps since the last log line, summed step by step in f64.

    Step by step, so that the value doesn't depend on where the run was cut into dispatches, or interrupted.
    """

    sums: dict[str, list[float]] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)  # metrics of which the root of the mean is reported
    pending: list[tuple[Dispatch, dict[str, Mean]]] = field(default_factory=list)
    skips: Skips = field(default_factory=Skips)

    def drain(self) -> None:
        """Fetches what is still on the device and adds it up.

        Raises:
            Diverged: for a loss that is not finite.
            RunError: when too many steps in a row were skipped.
        """
        for dispatch, metrics in self.pending:
            host = jax.device_get(metrics)  # blocks on the device
            losses = np.asarray(host["loss"].total[: dispatch.number])
            if not np.isfinite(losses).all():
                raise Diverged(dispatch.step + int(np.argmin(np.isfinite(losses))) + 1, "the loss")
            if SKIPPED in host:
                self.skips.add(dispatch.step, host.pop(SKIPPED).total[: dispatch.number])
            for name, mean in host.items():
                if mean.root:
                    self.roots.add(name)
                entry = self.sums.setdefault(name, [0.0, 0.0])
                for at, values in enumerate((mean.total, mean.weight)):
                    for value in values[: dispatch.number].tolist():
                        entry[at] += value
        self.pending.clear()

    def means(self) -> dict[str, float]:
        """The weighted means, and an empty window."""
        means = {name: total / weight for name, (total, weight) in self.sums.items() if weight}
        means |= {name: math.sqrt(means[name]) for name in self.roots & means.keys()}
        self.sums.clear()
        return means


@dataclass
class Log(Periodic):
    """Writes the mean of each metric since the last line to every logger.

    A line is written once the next dispatch is under way: fetching and formatting it costs the device nothing.
    """

    loggers: Sequence[Logger]
    examples_a_step: int
    steps_per_epoch: float
    clock: Clock
    window: Window = field(default_factory=Window)
    _due: int | None = None
    _trained: float = 0.0  # seconds of training until the last line
    _steps: int = 0

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Writes the line that is due, and keeps the new states without waiting for them."""
        self.flush()
        self.window.pending.append((dispatch, metrics))
        self._steps += dispatch.number

    def __call__(self, step: int, state: TrainState) -> None:
        """A line is due."""
        self._due = step

    def flush(self) -> None:
        """Writes the line that is due, if one is."""
        if self._due is None:
            return
        step, self._due = self._due, None
        self.window.drain()
        trained = self.clock.training()
        rate = self._steps * self.examples_a_step / max(trained - self._trained, 1e-9)
        self._trained, self._steps = trained, 0
        scalars = {f"train/{name}": value for name, value in self.window.means().items()}
        scalars |= self.window.skips.scalars()
        scalars |= {"epoch": step / self.steps_per_epoch, "examples_per_second": rate}
        with self.clock.part("logging"):
            for logger in self.loggers:
                logger.log(step, scalars)

    def settle(self, state: TrainState) -> None:
        """Writes the line that is due, and waits for the device, so that no other hook is charged with its steps."""
        self.flush()
        jax.block_until_ready(state)


@dataclass
class Evaluate(Periodic):
    """Scores the validation split."""

    score: Callable[[TrainState], dict[str, float]]
    loggers: Sequence[Logger]
    scores: dict[int, dict[str, float]]
    log: Log

    def __call__(self, step: int, state: TrainState) -> None:
        """Evaluates, logs, and leaves the scores for the checkpoint hook."""
        self.log.settle(state)
        with self.log.clock.part("evaluation"):
            result = self.score(state)
        if not all(math.isfinite(value) for value in result.values()):
            raise Diverged(step, "the validation loss")
        self.scores[step] = result
        with self.log.clock.part("logging"):
            for logger in self.loggers:
                logger.log(step, {f"validation/{name}": value for name, value in result.items()})


@dataclass
class Show(Periodic):
    """Makes samples of a generative model visible: images in the run directory, text on the terminal."""

    show: Callable[[int, TrainState], None]
    log: Log
    say: Callable[..., None]

    def __call__(self, step: int, state: TrainState) -> None:
        """Draws and shows."""
        self.log.settle(state)
        with self.log.clock.part("samples"), not_fatal(f"the samples of step {step:,}", self.say):
            self.show(step, state)


@dataclass
class Save:
    """Saves the state whenever it is due, and at the end."""

    when: When
    checkpoints: Checkpoints
    scores: Mapping[int, dict[str, float]]
    log: Log
    waiting: dict[str, Any] = field(default_factory=dict)  # what early stopping has counted
    rollbacks: list[dict[str, int]] = field(default_factory=list)  # where the run has gone back, as JSON
    facts: Mapping[str, Any] = field(default_factory=dict)  # where the state comes from, kept with it
    held: Any = None  # the best state, if it waits for the next save (`SaveBest`)

    def after(self, step: int) -> int:
        """See `When`."""
        return self.when.after(step)

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Saves when the time has come."""
        if self.when.passed():
            self.save(dispatch.step + dispatch.number, state)

    def __call__(self, step: int, state: TrainState) -> None:
        """Saves."""
        if self.when.due(step):
            self.save(step, state)

    def save(self, step: int, state: TrainState) -> None:
        """Saves the state and the log window in flight; a state that is not finite is never saved."""
        described = self.described(step, state)
        self.when.saved()
        with self.log.clock.part("checkpoint"):
            distributed.current().shared("there", self._check_there)
            held, self.held = self.held, None
            if held is not None and held.step != step:
                self.checkpoints.save(held.step, held.state, held.meta)
            self.checkpoints.save(step, state.as_dict(), described)

    def described(self, step: int, state: TrainState) -> dict[str, Any]:
        """What belongs to a state and is no array; raises `Diverged` for one that is not finite."""
        self.log.settle(state)
        self.log.window.drain()
        with self.log.clock.part("checkpoint"):
            if not is_finite(state.as_dict()):  # blocks on the device
                raise Diverged(step)
        window = self.log.window
        sums = {name: list(pair) for name, pair in window.sums.items()}
        meta: dict[str, Any] = {"scores": self.scores.get(step), "window": sums}
        meta |= {"early_stopping": dict(self.waiting), "skips": window.skips.as_json(), "rollbacks": self.rollbacks}
        return {**self.facts, **meta}

    def _check_there(self) -> None:
        """All that a checkpoint stands for has to be there; a folder taken away isn't made anew without its config."""
        run_dir = self.checkpoints.directory.parent
        if not run_dir.is_dir():
            raise RunError(f"run_dir: {str(run_dir)!r} is gone; nothing of the run can be saved any more")
        for logger in self.log.loggers:
            if isinstance(logger, Tolerant):
                logger.insist()


@dataclass
class Progress(Periodic):
    """Tells the terminal how far the run is."""

    report: Callable[[int], None]

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """A dispatch was launched."""
        self.report(dispatch.step + dispatch.number)

    def __call__(self, step: int, state: TrainState) -> None:
        """Nothing more at the end: the report saw the last dispatch."""


@dataclass
class Interrupt(Periodic):
    """Ends the run at the next dispatch after a signal, with everything saved. Comes after all that it saves."""

    requested: Callable[[], int | None]
    save: Callable[[int, TrainState], None]

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Saves and raises `Interrupted` if a signal came; a run that is done anyway just ends."""
        signal_number, step = self.requested(), dispatch.step + dispatch.number
        if signal_number is not None and step != self.every:
            self.save(step, state)
            raise Interrupted(step, signal_number)

    def __call__(self, step: int, state: TrainState) -> None:
        """Due only at the last step, when there is nothing left to interrupt."""


class Interrupted(Exception):
    """A signal ended the run after `step` steps; everything is saved."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"interrupted at step {step}")
        self.step, self.signal_number = step, signal_number
