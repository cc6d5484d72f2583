"""What every search provides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bigtrain.sweep.trial import Proposal, Trial


class Search(Protocol):
    """Chooses configurations, in rounds.

    A search is one class in one file and one YAML in `configs/sweep/`. Its constructor takes its own fields and may ask
    for `space` (`bigtrain.sweep.space.Space`) and `objectives` (a tuple of `bigtrain.sweep.trial.Objective`).
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
