"""Searches that learn from what was tried, through Optuna: its samplers propose, its storage isn't used."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bigtrain.config.errors import InputError
from bigtrain.config.signature import installed
from bigtrain.sweep.random_search import configurations
from bigtrain.sweep.space import Dimension, Space, combinations, identity, inside, size
from bigtrain.sweep.trial import Objective, Proposal, Trial

ATTEMPTS = 20
"""How often a sampler is asked for a configuration that is new before another untried one is taken."""

Attributes = Callable[[int], dict[str, Any]]
"""What a sampler keeps with a trial, from how many completed ones there were before it."""


def check_installed(search: str, extra: str, *packages: str) -> None:
    """Refuses a search whose packages are missing."""
    for package in packages:
        if not installed(package):
            problem = f"sweep={search} needs the package {package!r}, which is not installed"
            raise InputError(f"{problem}\n  pip install 'bigtrain[{extra}]'")


def sampler_seed(seed: int, known: int) -> int:
    """The seed of the sampler that is asked when `known` trials are there."""
    return int(np.random.SeedSequence(seed, spawn_key=(known,)).generate_state(1)[0])


def asked(
    sampler: Any,
    number: int,
    space: Space,
    objectives: Sequence[Objective],
    trials: Sequence[Trial],
    attributes: Attributes = lambda completed: {},
) -> list[Proposal]:
    """What a fresh sampler proposes after all trials so far: at most `number`, none of them twice.

    A new study is filled with the trials in their order each time, so that the answer depends on nothing else. Trials
    with a value that isn't in a list any more are passed over: Optuna knows no values but those that it may propose.
    """
    distributions = {dimension.key: _distribution(dimension) for dimension in space}
    limit = size(space)
    known = [(trial, values) for trial in trials if (values := inside(space, trial.values)) is not None]
    seen = {identity(values) for _, values in known}
    number = number if limit is None else min(number, limit - len(seen))
    proposals: list[Proposal] = []
    if number <= 0:
        return proposals
    with _quietly():
        study = _study(sampler, space, objectives, known, distributions, attributes)
        while len(proposals) < number:
            values = _ask(study, distributions, space, seen)
            if values is None:
                others = configurations(space, sampler_seed(0, len(seen))) if limit is None else combinations(space)
                values = next(item for item in others if identity(item) not in seen)
            seen.add(identity(values))
            proposals.append(Proposal(values))
    return proposals


def _ask(study: Any, distributions: dict[str, Any], space: Space, seen: set[Any]) -> dict[str, str] | None:
    """The sampler's next configuration that isn't among `seen`; None where it names only those."""
    from optuna.trial import TrialState

    for _ in range(ATTEMPTS):
        trial = study.ask(distributions)
        values = {
            dim.key: dim.text(trial.params[dim.key]) if dim.continuous else trial.params[dim.key] for dim in space
        }
        if identity(values) not in seen:
            return values
        study.tell(trial, state=TrialState.FAIL)  # else it counts as one that runs
    return None


def _study(
    sampler: Any,
    space: Space,
    objectives: Sequence[Objective],
    known: Sequence[tuple[Trial, dict[str, str]]],
    distributions: dict[str, Any],
    attributes: Attributes,
) -> Any:
    """A study in memory that knows the trials, each with its configuration as the space has it."""
    import optuna
    from optuna.trial import TrialState

    directions = [{"min": "minimize", "max": "maximize"}[objective.mode] for objective in objectives]
    study = optuna.create_study(sampler=sampler, directions=directions)
    completed = 0
    for trial, configuration in known:
        state, values, intermediate = TrialState.FAIL, None, {}
        last = trial.last
        finite = last is not None and all(math.isfinite(value) for value in last)
        if finite and trial.state == "done":
            state, values = TrialState.COMPLETE, last
        elif finite and trial.state == "pruned" and len(objectives) == 1:
            state, intermediate = TrialState.PRUNED, {trial.steps: last[0]}  # type: ignore[index]
        params = {dim.key: _read(dim, configuration[dim.key]) for dim in space}
        study.add_trial(
            optuna.create_trial(
                state=state,
                values=values,
                params=params,
                distributions=distributions,
                intermediate_values=intermediate,
                system_attrs=attributes(completed),
            )
        )
        completed += state is TrialState.COMPLETE
    return study


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not dimension.continuous:
        return CategoricalDistribution(dimension.choices)
    if dimension.integer:
        return IntDistribution(round(dimension.low), round(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _read(dimension: Dimension, text: str) -> Any:
    """A value as Optuna's distribution has it."""
    if not dimension.continuous:
        return text
    return int(text) if dimension.integer else float(text)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Optuna's log lines and its warnings about samplers that are young."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"optuna\.")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
