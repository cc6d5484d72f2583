"""A sweep from its first proposal to its answer: rounds of a search, kept in a ledger, run by a launcher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigtrain.config.compose import prepared, quoted
from bigtrain.config.errors import BigtrainError, InputError, RunError
from bigtrain.config.multirun import returned
from bigtrain.sweep.answer import write
from bigtrain.sweep.around import Around
from bigtrain.sweep.job import Outcome, failure
from bigtrain.sweep.ledger import Ledger, directory_of
from bigtrain.sweep.lineage import adopt
from bigtrain.sweep.live import Live
from bigtrain.sweep.member import Member, check_same, failed, members
from bigtrain.sweep.opening import check_unchanged
from bigtrain.sweep.results import Sweep
from bigtrain.sweep.search import GivesUp, Search
from bigtrain.sweep.space import Space, asked_again, identity
from bigtrain.sweep.trial import ENDED, Proposal, Trial
from bigtrain.sweep.watching import Watching, percent
from bigtrain.tracking.console import Console

OTHERS_SECONDS = 1.0  # between two looks at what another process is doing


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Args:
        folder: the sweep's directory.
        command: what was typed.
        base: the overrides that all trials share.
        keys: what is swept.
        sparing: overrides that a member has by default, for being one of many.
        until: no trial starts after this moment of the monotonic clock; None without a limit.
        flags: the options that a later command has to repeat, as the shell takes them.
        space: the values that are swept; empty takes up whatever waits.
    """

    folder: Path
    command: str
    base: tuple[str, ...]
    keys: tuple[str, ...]
    sparing: tuple[str, ...] = ()
    until: float | None = None
    flags: str = ""
    space: Space = ()

    def job(self, trial: Trial) -> tuple[str, ...]:
        """What would be typed for a trial."""
        swept = [f"{key}={value}" for key, value in trial.values.items()]
        rest = [f"stop_at={percent(trial.until)}"] if trial.until < 1.0 else []
        return (*self.sparing, *self.base, *swept, quoted("run_dir", str(self.folder / trial.directory)), *rest)

    def understood(self, proposals: Sequence[Proposal], around: Around, first: int = 0) -> list[Member]:
        """The new ones among proposals as members; raises `ConfigError` for the first whose config isn't allowed.

        Args:
            proposals: what a search proposed.
            around: keeps them for when they are launched.
            first: the number that the first new one will have.
        """
        numbered = enumerate([item for item in proposals if item.trial is None], first)
        jobs = [self.job(Trial(at, item.values, directory_of(at), until=item.until)) for at, item in numbered]
        return around.understood(jobs)


@dataclass
class Conductor:
    """Runs a sweep with whichever launcher it is given.

    Args:
        asked: what is to be swept, and where.
        search: chooses the trials.
        ledger: knows them.
        around: what their jobs share.
        console: shows how far it is.
    """

    asked: Asked
    search: Search
    ledger: Ledger
    around: Around
    console: Console
    cut_short: bool = False  # time was up before the search was over
    _begun: float = field(default_factory=time.monotonic)

    def run(self, launcher: Any) -> Sweep:
        """Until the search has no more to propose, time is up, or a signal comes; returns the sweep as it is then."""
        if getattr(launcher, "around", None) is not None:
            launcher.around = self.around
        check_unchanged(self.ledger.trials(), self.asked.job, self.around.settings)
        self._tell_gone()
        live = Live(self.console, self.judge.objectives, getattr(self.search, "trials", None) or 0)
        watching = Watching(self.asked.folder, self.ledger, live, self._known)
        try:
            self._rounds(launcher, watching)
        except BigtrainError:
            with suppress(BigtrainError, OSError):  # the first error is the one to tell
                if any(trial.state in ENDED for trial in self.ledger.trials()):
                    self.answer()
            raise
        return self.answer()

    def _tell_gone(self) -> None:
        """Says which run directories are gone: their trials have their scores, and nothing to use."""
        ended = [trial for trial in self.ledger.trials() if trial.state == "done"]
        gone = [trial.directory for trial in ended if not (self.asked.folder / trial.directory).is_dir()]
        if gone:
            names = ", ".join(gone[:3]) + (", …" if len(gone) > 3 else "")
            problem = f"{len(gone)} of {len(ended)} trials that are done have no directory any more ({names})"
            self.console.say(f"note: {problem}: their scores are kept, what they trained is gone", style="yellow")

    def _rounds(self, launcher: Any, watching: Watching) -> None:
        going = True
        try:
            while going and not self.around.over():
                going = self._round(launcher, watching)
            self.cut_short = going and self.around.listener() is None and self._more()
        finally:
            watching.live.close()
            self.ledger.release()

    @property
    def judge(self) -> Any:
        """How trials are judged."""
        return self.around.settings.judge

    def known(self) -> list[Trial]:
        """The trials that this sweep is about: what waits in the ledger and isn't asked for any more is left alone."""
        return self._known(self.ledger.trials())

    def _known(self, trials: Sequence[Trial]) -> list[Trial]:
        return (
            asked_again(self.asked.space, trials, getattr(self.search, "trials", None))
            if self.asked.space
            else list(trials)
        )

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """The search's next round, each of its configs composed and checked."""
        proposals = self.search.propose(self._known(trials))
        try:
            new = self.asked.understood(proposals, self.around, len(trials))
        except InputError:  # one of them isn't allowed, and will be a failed trial: see `_allowed`
            new = []
        if len(self.ledger.trials()) == len(trials):  # else another process has proposed them meanwhile
            for member in new:
                check_same(member)
        return proposals

    def answer(self) -> Sweep:
        """The sweep as the ledger knows it, with its results, report and pictures written."""
        asked = self.asked
        found = Sweep(
            asked.folder, asked.command, asked.base, asked.keys, self.judge.objectives, tuple(self.ledger.trials()),
            self.ledger.spent(time.monotonic() - self._begun), asked.flags,
        )  # fmt: skip
        self._begun = time.monotonic()
        write(found, self.console.say)
        return found

    def _round(self, launcher: Any, watching: Watching) -> bool:
        """Runs what waits, or proposes more; False when the search is over."""
        watching.reconcile()
        trials = self.ledger.claim(getattr(launcher, "AT_ONCE", None), self._known)
        if trials:
            self._adopt()  # a round is proposed in one piece: who has claimed a parent sees all of its children
            if allowed := self._allowed(trials, watching):
                self._launch(launcher, allowed, watching)
            return True
        everything = self.ledger.trials()
        known = self._known(everything)
        if any(trial.state not in ENDED for trial in known):
            watching.look()
            time.sleep(OTHERS_SECONDS)  # another process has them
            return True
        if isinstance(self.search, GivesUp):
            self.ledger.give_up(sorted(self.search.given_up(known)))
        before = [(trial.number, trial.until) for trial in everything]
        self.ledger.propose(self.propose(everything))
        proposed = self.ledger.trials()
        watching.live.update(self._known(proposed))
        return before != [(trial.number, trial.until) for trial in proposed]

    def _more(self) -> bool:
        """Whether anything is left to train; a search may be over without having been asked a last time."""
        known = self.known()
        if any(trial.shown == "resting" or trial.state not in ENDED for trial in known):
            return True
        tried = {identity(trial.values) for trial in known}
        proposals = self.search.propose(known)
        return any(item.trial is not None or item.parent is not None or identity(item.values) not in tried
                   for item in proposals)  # fmt: skip

    def _adopt(self) -> None:
        """The directories of trials that start from another's state; before any of their parents goes on."""
        for trial in self.ledger.trials():
            if trial.parent is not None and not (self.asked.folder / trial.directory).exists():
                try:
                    (member,) = members([self.asked.job(trial)], self.around.settings)
                except InputError:  # whoever claims it writes down that it has failed
                    continue
                adopt(member, self.asked.folder / directory_of(trial.parent))

    def _allowed(self, trials: Sequence[Trial], watching: Watching) -> list[Trial]:
        """The trials whose configs are allowed.

        A search may combine values, each allowed with others, that are not allowed together: that is a failed trial.
        """
        jobs = [self.asked.job(trial) for trial in trials]
        try:
            self.around.understood(jobs)
        except InputError:
            found = []
            for trial, job in zip(trials, jobs, strict=True):
                try:
                    self.around.understood([job])
                except InputError as error:
                    stop_at = percent(trial.until) if trial.until < 1.0 else None
                    watching.record(trial, failed(error, self.asked.folder / trial.directory, stop_at))
                else:
                    found.append(trial)
            return found
        return list(trials)

    def _launch(self, launcher: Any, trials: Sequence[Trial], watching: Watching) -> None:
        """Runs claimed trials, and writes down what becomes of each."""
        jobs: list[Sequence[str]] = [self.asked.job(trial) for trial in trials]
        if getattr(launcher, "around", None) is None:
            jobs = [prepared(job, self.around.settings.config_dir) for job in jobs]
            self.around.known.clear()  # they are composed where they run
        with watching.of(trials, self._pass_on):
            found = launcher.launch(jobs, initial_job_idx=trials[0].number)
        outcomes = [_outcome(job, trial) for job, trial in zip(found, trials, strict=True)]
        for trial, outcome in zip(trials, outcomes, strict=True):
            watching.record(trial, outcome)
        if any(outcome.state == "waiting" for outcome in outcomes) and not self.around.over():
            self.ledger.release()
            time.sleep(OTHERS_SECONDS)  # their run directories are another process's for now
        broken = next((outcome for outcome in outcomes if outcome.machine), None)
        if broken is not None:
            self.ledger.release()
            hint = "what was trained is kept; type the same command again to go on"
            raise RunError(f"the sweep can't go on: {broken.error}\n  {hint}")

    def _pass_on(self) -> None:
        """Tells the jobs of a launcher that isn't ours of a signal; ours ask the listener themselves."""
        if self.around.listener() is not None:
            self.ledger.stop.touch(mode=0o600)


def _outcome(job: Any, trial: Trial) -> Outcome:
    """What a launcher returned for a trial."""
    found = returned(job)
    stop_at = percent(trial.until) if trial.until < 1.0 else None
    if isinstance(found, Exception):
        return failure(found, stop_at)
    scores = found["scores"]
    return Outcome(**{**found, "scores": None if scores is None else tuple(scores)})
