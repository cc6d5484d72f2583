"""What happens beside the loop: logging, evaluation, samples, checkpoints. Each hook says at which steps it is due."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import RunError
from bigtrain.data.placement import Dispatch
from bigtrain.metrics import Mean
from bigtrain.parallel import allocator, distributed
from bigtrain.run.fatal import not_fatal
from bigtrain.tracking.logger import Logger, Tolerant
from bigtrain.train.finite import Diverged, is_finite
from bigtrain.train.log import Log
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
    compiled: bool = False

    def __call__(self, step: int, state: TrainState) -> None:
        """Draws and shows; the first time, that is compiled."""
        self.log.settle(state)
        room, self.compiled = nullcontext() if self.compiled else allocator.room(), True
        with self.log.clock.part("samples"), not_fatal(f"the samples of step {step:,}", self.say), room:
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
        self.log.settle_all(state)
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
