"""What every search provides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bigtrain.config.schema import RunConfig
from bigtrain.sweep.trial import Proposal, Trial


class Search(Protocol):
    """Chooses configurations, in rounds.

    A search is one class in one file and one YAML in `configs/sweep/`. Its constructor takes its own fields and may ask
    for `space` (`bigtrain.sweep.space.Space`), `objectives` (a tuple of `bigtrain.sweep.trial.Objective`) and `numbers`
    (the keys that may change in the middle of a run). One that lets trials rest before their last step is a `GivesUp`
    too, one that can't work with any run a `ChecksRuns`, and one that knows how many trials there will be at most has
    that number as `trials`.
    """

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """The next round; called when every trial so far has ended or rests. Empty when the search is over.

        A function of the constructor's arguments and of `trials` alone, without any memory: a sweep that was killed
        asks again, is told what was known then, and has to be proposed the same. What is proposed and in the ledger
        already isn't run again.

        Args:
            trials: all that was proposed in earlier rounds, in that order.
        """
        ...


@runtime_checkable
class GivesUp(Protocol):
    """A search that trains some trials in part only."""

    def given_up(self, trials: Sequence[Trial]) -> set[int]:
        """The numbers of the trials that rest and won't go on: they are `pruned`.

        Args:
            trials: what `propose` was given last.
        """
        ...


@runtime_checkable
class ChecksRuns(Protocol):
    """A search that can't work with any run."""

    def check(self, run: RunConfig, steps: int) -> None:
        """Refuses what the search can't work with, before anything is trained.

        Args:
            run: the config that all trials share but for what is swept.
            steps: optimizer steps of a whole run.

        Raises:
            ConfigError: with the key to change.
        """
        ...


def left_behind(trials: Sequence[Trial], proposals: Sequence[Proposal]) -> set[int]:
    """The numbers of the trials that rest before their last step and of which a round asks no more."""
    going_on = {proposal.trial for proposal in proposals}
    return {
        trial.number
        for trial in trials
        if trial.state in ("done", "pruned") and trial.until < 1.0 and trial.number not in going_on
    }
