"""What all charts of a sweep share: which trial has which colour, and which is the best."""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.sweep.report import curves
from bigtrain.sweep.results import Sweep, score
from bigtrain.sweep.trial import Trial, best

SHADES = 8  # classes of colour, from the worst to the best


@dataclass(frozen=True)
class View:
    """A sweep with what is drawn of it.

    Args:
        sweep: the sweep.
        best: the trial with the best first objective, of those that trained to their end.
        ranks: the place of each trial that has a score, from 0 (the worst) up.
        curves: learning curves by metric and trial.
    """

    sweep: Sweep
    best: Trial | None
    ranks: dict[int, int]
    curves: dict[str, dict[int, curves.Curve]]

    @classmethod
    def of(cls, sweep: Sweep) -> View:
        """Reads the curves of all trials."""
        found = best([trial for trial in sweep.trials if score(trial) is not None], sweep.objectives[0])
        return cls(sweep, found, _ranks(sweep), curves.read(sweep))

    def kind(self, trial: Trial) -> str:
        """The class of what stands for a trial in a chart."""
        rank, last = self.ranks.get(trial.number), len(self.ranks) - 1
        name = "t none" if rank is None else f"t s{rank * (SHADES - 1) // last if last else SHADES - 1}"
        return f"{name} best" if self.best is not None and trial.number == self.best.number else name

    def ordered(self) -> list[Trial]:
        """All trials, the best last: what is drawn later lies above."""

        def above(trial: Trial) -> tuple[bool, int, int]:
            return trial is self.best, self.ranks.get(trial.number, -1), -trial.number

        return sorted(self.sweep.trials, key=above)


def _ranks(sweep: Sweep) -> dict[int, int]:
    """Ranks, so that one trial that is far off doesn't give all others one colour; of equals the earlier is better."""
    sign = 1 if sweep.objectives[0].mode == "max" else -1
    scored = [(sign * value, -trial.number) for trial in sweep.trials if (value := score(trial)) is not None]
    return {-number: at for at, (_, number) in enumerate(sorted(scored))}
