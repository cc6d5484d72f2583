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
        shades: a colour class by trial, from 0 (the worst) to 7 (the best); those without a score have none.
        curves: learning curves by metric and trial.
    """

    sweep: Sweep
    best: Trial | None
    shades: dict[int, int]
    curves: dict[str, dict[int, curves.Curve]]

    @classmethod
    def of(cls, sweep: Sweep) -> View:
        """Reads the curves of all trials."""
        found = best([trial for trial in sweep.trials if score(trial) is not None], sweep.objectives[0])
        return cls(sweep, found, _shades(sweep), curves.read(sweep))

    def kind(self, trial: Trial) -> str:
        """The class of what stands for a trial in a chart."""
        shade = self.shades.get(trial.number)
        name = "t none" if shade is None else f"t s{shade}"
        return f"{name} best" if self.best is not None and trial.number == self.best.number else name

    def ordered(self) -> list[Trial]:
        """All trials, the best last: what is drawn later lies above."""
        def above(trial: Trial) -> tuple[bool, int, int]:
            return trial is self.best, self.shades.get(trial.number, -1), trial.number

        return sorted(self.sweep.trials, key=above)


def _shades(sweep: Sweep) -> dict[int, int]:
    """By rank, so that one trial that is far off doesn't give all others the same colour."""
    scored = [(value, trial.number) for trial in sweep.trials if (value := score(trial)) is not None]
    scored.sort(reverse=sweep.objectives[0].mode == "min")
    last = max(len(scored) - 1, 1)
    return {number: at * (SHADES - 1) // last if len(scored) > 1 else SHADES - 1 for at, (_, number) in enumerate(scored)}
