"""What goes on in the trials of a sweep, as their run directories tell it, whichever process trains them."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bigtrain.sweep.job import Outcome
from bigtrain.sweep.ledger import Ledger
from bigtrain.sweep.live import Live
from bigtrain.sweep.trial import Trial

LOOK_SECONDS = 0.5
TAIL_BYTES = 4096  # of metrics.jsonl: more than a line has


def percent(until: float) -> str:
    """A share of a run's steps as a duration."""
    return f"{100 * until:.10f}".rstrip("0").rstrip(".") + "%"


class Watching:
    """Writes outcomes into the ledger as soon as they are on the disk, and shows how far the others are.

    Args:
        folder: the sweep's directory.
        ledger: what is known of its trials.
        live: what is shown.
        known: the trials that are shown, of all.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        live: Live,
        known: Callable[[list[Trial]], Sequence[Trial]] = lambda trials: trials,
    ) -> None:
        self.folder, self.ledger, self.live, self._known = folder, ledger, live, known
        self._lock = threading.Lock()
        self._recorded: set[tuple[int, float]] = set()

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Writes down what became of a trial; once for each share of its steps."""
        with self._lock:
            if outcome.state == "waiting" or (trial.number, trial.until) in self._recorded:
                return
            scores = dict(trial.scores)
            if outcome.scores is not None:
                scores[trial.until] = outcome.scores
            ended = dataclasses.replace(
                trial, state=outcome.state, scores=scores, steps=outcome.steps, error=outcome.error,
                seconds=trial.seconds + outcome.seconds,
            )  # fmt: skip
            self.ledger.record(ended)
            self._recorded.add((trial.number, trial.until))

    def reconcile(self) -> None:
        """Writes down what ended while nobody was there to write it."""
        for trial in self.ledger.trials():
            if trial.state == "waiting":
                self._look_at(trial)

    def look(self) -> None:
        """Shows the trials as they are now."""
        newest: dict[int, list[float]] = {}
        self.live.update([self._under_way(trial, newest) for trial in self._known(self.ledger.trials())], newest)

    @contextmanager
    def of(self, trials: Sequence[Trial], also: Callable[[], None]) -> Iterator[None]:
        """Looks at some trials, now and then, while the block runs; `also` is called each time."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(LOOK_SECONDS):
                with suppress(OSError):
                    also()
                with suppress(Exception):  # what can't be written now is written when the launch has ended
                    for trial in trials:
                        self._look_at(trial)
                    self.look()

        thread = threading.Thread(target=watch, name="sweep-watching", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _look_at(self, trial: Trial) -> None:
        found = Outcome.read(self.folder / trial.directory)
        stop_at = percent(trial.until) if trial.until < 1.0 else None
        if found is not None and found.stop_at == stop_at:
            self.record(trial, found)

    def _under_way(self, trial: Trial, newest: dict[int, list[float]]) -> Trial:
        """A trial with the steps that its metrics tell of, and its newest scores; one that hasn't begun waits."""
        if trial.state != "running":
            return trial
        path = self.folder / trial.directory / "metrics.jsonl"
        try:
            with open(path, "rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return dataclasses.replace(trial, state="waiting")
        steps = None
        names = [f"validation/{objective.name}" for objective in self.live.objectives]
        for text in reversed(lines):
            with suppress(ValueError, KeyError, TypeError):
                line = json.loads(text)
                steps = int(line["step"]) if steps is None else steps
                newest[trial.number] = [float(line[name]) for name in names]
                break
        return trial if steps is None else dataclasses.replace(trial, steps=steps)
