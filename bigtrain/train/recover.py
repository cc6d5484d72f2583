"""What becomes of a run that is not finite any more: it goes back to the newest checkpoint, or ends and says why.

Going back leaves out batches: all from the checkpoint's to that of the step that broke. The order of the data moves on
by so many, and everything else is as in a run that is continued from that checkpoint, so where it goes from there is a
function of the config, too. How often it went back, and what it left out, is saved with the checkpoints that follow.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import RunError
from bigtrain.data.placement import Resident, Streamed
from bigtrain.run.directory import RunDirectory
from bigtrain.run.fatal import not_fatal
from bigtrain.train.diagnosis import Finding, diagnosed
from bigtrain.train.finite import Diverged
from bigtrain.train.prepare import Prepared
from bigtrain.train.redone import Replay
from bigtrain.train.skips import Skips, TooManySkips
from bigtrain.train.state import TrainState

Rollback = dict[str, int]
"""`step`, to which a run has gone back, and how many `batches` it has left out there."""

SHOWN = 16  # examples that a message names; diverged.json has all
TRY = "try a smaller optimizer.learning_rate, schedule.warmup=5%, or clip_norm=1, in a new run_dir"
GO_ON = "or go on from here without that batch: on_nonfinite=skip, or on_nonfinite=rollback"


def moved_on(placement: Resident | Streamed, rollbacks: Sequence[Mapping[str, int]]) -> Resident | Streamed:
    """A placement that leaves out what the run has left out."""
    left_out = sum(entry["batches"] for entry in rollbacks)
    return dataclasses.replace(placement, order=dataclasses.replace(placement.order, skipped=left_out))


def left_out(meta: Mapping[str, Any]) -> list[str]:
    """What the description of a checkpoint says of steps that were left out on the way to it, for people."""
    went_back = [
        f"went back to step {entry['step']:,}, and on with the batches {entry['batches']:,} further"
        for entry in meta.get("rollbacks", ())
    ]
    return [*Skips.of(0, meta.get("skips", {}), counts=True).told(), *went_back]


@dataclass(frozen=True)
class Broken:
    """The step that broke a run."""

    step: int
    what: str  # is wrong with it, in words
    replay: Replay | None  # from the newest checkpoint
    start: int = 0  # its step
    skipped: bool = False


class Recovery:
    """Answers a failure of the numbers.

    Args:
        ready: the run.
        checkpoints: its checkpoints.
        numbers: the hyperparameters, on the devices.
        directory: the run directory.
        restored: makes the state of the newest checkpoint, anew at each call, and says its step.
        say: tells people.
        explains: whether the message says what broke first; to find that out takes as long as the steps since the
            newest checkpoint.
    """

    def __init__(
        self, ready: Prepared, checkpoints: Checkpoints, numbers: Any, directory: RunDirectory,
        restored: Callable[[], tuple[TrainState, int]], say: Callable[..., None], *, explains: bool = True,
    ) -> None:  # fmt: skip
        self.ready, self.checkpoints, self.numbers = ready, checkpoints, numbers
        self.directory, self.restored, self.say, self.explains = directory, restored, say, explains

    def answer(self, failure: Diverged | TooManySkips, good: int, rollbacks: Sequence[Rollback]) -> list[Rollback]:
        """Where the run has gone back, this time included.

        Args:
            failure: what was noticed, perhaps some steps late.
            good: a step after which the state was known to be finite.
            rollbacks: of the run until now.

        Raises:
            RunError: when the run ends: with the step, what of it broke first, its batch, and what to try.
        """
        run = self.ready.run
        if not self.explains and run.on_nonfinite != "rollback":
            raise RunError(f"training diverged: {failure}; {self._kept()}") from failure
        try:
            broken = self._broken(failure, good, rollbacks)
            if run.on_nonfinite != "rollback" or broken.replay is None or len(rollbacks) >= run.nonfinite_limit:
                raise self._ended(broken, rollbacks) from failure
        finally:
            self.checkpoints.close()
        kept = broken.start
        found: list[Rollback] = [entry for entry in rollbacks if entry["step"] <= kept]
        found.append({"step": kept, "batches": broken.step - kept})
        which = f"{len(found)} of at most {run.nonfinite_limit}"
        where = f"back to step {kept:,}, and on with the batches that come after step {broken.step:,}"
        self.say(f"{broken.what}: {where} ({which})", style="yellow")
        return found

    def _broken(self, failure: Diverged | TooManySkips, good: int, rollbacks: Sequence[Rollback]) -> Broken:
        """The exact step, by doing those since the newest checkpoint again."""
        placement = moved_on(self.ready.placement, rollbacks)
        replay = Replay(self.ready.program, placement, self.numbers, self.restored)
        if isinstance(failure, TooManySkips):
            return Broken(failure.step, str(failure), replay, max(self.checkpoints.steps(), default=0), skipped=True)
        self.say(f"{failure.what} is not finite: the steps since the newest checkpoint tell why", style="yellow")
        found = replay.first_broken(good, failure.step)
        if found is None:
            return Broken(failure.step, f"{failure.what} of step {failure.step:,} is not finite", None)
        what = f"the {'update' if found.applied else 'loss'} of step {found.step:,} is not finite"
        return Broken(found.step, what, replay, found.start)

    def _ended(self, broken: Broken, rollbacks: Sequence[Rollback]) -> RunError:
        """The error that ends the run."""
        run = self.ready.run
        lines = [f"training diverged: {broken.what}; {self._kept()}"]
        finding = self._diagnosed(broken)
        report: dict[str, Any] = {"step": broken.step, "what": broken.what}
        if broken.replay is not None:
            examples = broken.replay.placement.order.batches(broken.step - 1, 1)[0].tolist()
            report |= {"examples": examples, "first": finding.first if finding else None}
            if finding is not None:
                to_blame = [examples[row] for row in finding.rows]
                report["not_finite"] = to_blame
                lines.append(f"  first: {finding.first}" + (f", in {_listed(to_blame)}" if to_blame else ""))
            lines.append(f"  its batch: {_listed(examples)} of the training split (all in diverged.json)")
            if finding is None and broken.skipped:
                lines.append(f"  its gradient is over {run.skip_spikes:g} times its running average (skip_spikes)")
        if rollbacks:
            lines.append(f"  it has gone back {len(rollbacks)} times (nonfinite_limit={run.nonfinite_limit})")
        data = finding is not None and finding.first.startswith("the data itself")
        lines.append(f"  {'repair these examples' if data else TRY}")
        if run.on_nonfinite == "stop" and broken.replay is not None:
            lines.append(f"  {GO_ON}")
        with not_fatal("diverged.json", self.say):
            self.directory.write("diverged.json", json.dumps(report, indent=1))
        return RunError("\n".join(lines))

    def _kept(self) -> str:
        """What is left of the run."""
        steps = self.checkpoints.steps()
        return f"checkpoints up to step {steps[-1]:,} are intact" if steps else "no checkpoint had been saved yet"

    def _diagnosed(self, broken: Broken) -> Finding | None:
        """What broke first in the step; None where that can't be found out."""
        if broken.replay is None or not self.explains:
            return None
        try:
            return diagnosed(self.ready.program, *broken.replay.before(broken.step), self.numbers)
        except Exception as error:  # it takes memory that a training step does not; what is known is said in any case
            self.say(
                f"what broke first could not be found out: {type(error).__name__}: {str(error)[:200]}", style="yellow"
            )
            return None


def _listed(examples: Sequence[int]) -> str:
    """Examples by their index, the first few."""
    shown = ", ".join(map(str, examples[:SHOWN])) + (", …" if len(examples) > SHOWN else "")
    return f"example {shown}" if len(examples) == 1 else f"examples {shown}"
