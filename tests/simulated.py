"""A sweep whose trials are a formula: what a search proposes is trained in no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bigtrain.sweep.search import GivesUp, Search
from bigtrain.sweep.trial import Objective, Proposal, Trial

LOSS = (Objective("loss", "min"),)
STEPS = 810

Scores = Callable[[Mapping[str, str], float], tuple[float, ...] | None]
"""The objectives of a configuration after a share of its steps; None where training it fails."""


@dataclass
class Simulated:
    """What a search did: its trials, and for each round what was known before and what it proposed."""

    trials: list[Trial] = field(default_factory=list)
    rounds: list[tuple[tuple[Trial, ...], list[Proposal]]] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """How many whole runs were trained, in sum."""
        return sum(trial.steps for trial in self.trials) / STEPS

    @property
    def lowest(self) -> float:
        """The smallest first objective of the trials that trained to their end."""
        ended = [trial for trial in self.trials if trial.until == 1.0 and trial.state == "done"]
        return min(trial.scores[1.0][0] for trial in ended)


def simulate(search: Search, scores: Scores, known: tuple[Trial, ...] = (), most: int = 200) -> Simulated:
    """Lets a search propose until it has nothing left; `known` is what an earlier call was told before some round."""
    sweep = Simulated(list(known))
    for _ in range(most):
        before = tuple(sweep.trials)
        proposals = search.propose(before)
        if isinstance(search, GivesUp):
            for number in search.given_up(before):
                sweep.trials[number] = replace(sweep.trials[number], state="pruned")
        if not proposals:
            return sweep
        sweep.rounds.append((before, proposals))
        for proposal in proposals:
            _train(sweep, proposal, before, scores)
        assert len({tuple(trial.values.items()) for trial in sweep.trials if trial.parent is None}) == sum(
            trial.parent is None for trial in sweep.trials
        ), "a configuration was proposed in two rounds"
    raise AssertionError(f"no end after {most} rounds")


def _train(sweep: Simulated, proposal: Proposal, before: tuple[Trial, ...], scores: Scores) -> None:
    if proposal.trial is None:
        number = len(sweep.trials)
        begun = 0.0 if proposal.parent is None else before[proposal.parent].until  # where the parent rested
        trial = Trial(number, proposal.values, f"trials/{number}", parent=proposal.parent)
        sweep.trials.append(trial)
    else:
        trial = sweep.trials[proposal.trial]
        assert trial.values == proposal.values
        assert trial.state == "done", "only what rests can go on"
        begun = trial.until
        assert begun < proposal.until
    found = scores(trial.values, proposal.until)
    steps = trial.steps + round((proposal.until - begun) * STEPS)
    measured = {**trial.scores, **({} if found is None else {proposal.until: found})}
    state = "failed" if found is None else "done"
    sweep.trials[trial.number] = replace(trial, state=state, until=proposal.until, scores=measured, steps=steps)


def bowl(values: Mapping[str, str], share: float) -> tuple[float]:
    """A quadratic with its minimum at x = 1, y = -2; less training adds to it."""
    return ((float(values["x"]) - 1) ** 2 + (float(values["y"]) + 2) ** 2 + 1 - share,)
