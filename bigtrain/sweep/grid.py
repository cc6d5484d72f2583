"""Grid search."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.config.errors import ConfigError
from bigtrain.sweep.space import MOST, Space, check_swept, combinations, identity, size
from bigtrain.sweep.trial import Proposal, Trial


class Grid:
    """Every combination of the swept values, in the order typed; the last key varies fastest."""

    def __init__(self, *, space: Space) -> None:
        check_swept(space)
        for dimension in space:
            if dimension.continuous:
                low, high = dimension.text(dimension.low), dimension.text(dimension.high)
                listed = f"list values: {dimension.key}={low},{high}, or search in it: sweep=random"
                raise ConfigError(dimension.key, "is an interval, and a grid takes every value", hint=listed)
        self.space, self.trials = space, size(space) or 0
        if self.trials > MOST:
            hint = "try some of them: sweep=random"
            raise ConfigError("sweep", f"a grid of {self.trials:,} runs", allowed=f"at most {MOST:,}", hint=hint)

    def propose(self, trials: Sequence[Trial]) -> list[Proposal]:
        """See `bigtrain.sweep.search.Search`; all in one round; of values that were added later, too."""
        known = {identity(trial.values) for trial in trials}
        return [Proposal(values) for values in combinations(self.space) if identity(values) not in known]
