"""What a sweep varies: one dimension for each key that was given several values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bigtrain.config.errors import ConfigError
from bigtrain.config.overrides import key_of
from bigtrain.config.sweeps import Dimension, meaning, swept
from bigtrain.sweep.trial import Trial

Space = tuple[Dimension, ...]


def parse_space(texts: Sequence[str], config_dir: str | Path | None = None) -> tuple[Space, list[str]]:
    """Parts the overrides of a sweep into those with several values and the rest.

    Args:
        texts: overrides as typed, in Hydra's grammar: `a,b`, `choice`, `range`, `interval`, `tag(log, …)`, `glob`, ….
        config_dir: the user's own configs, whose choices `glob` finds too.

    Returns:
        A dimension for each swept key, in the order typed, and the other overrides as they are.

    Raises:
        ConfigError: for values that can't be read, of which there are none, or for a key that is swept twice.
    """
    space: list[Dimension] = []
    fixed: list[str] = []
    for text in texts:
        found = swept(text, config_dir)
        if found is None:
            fixed.append(text)
        else:
            space.append(found)
    for index, dimension in enumerate(space):
        key = dimension.key
        if any(other.key == key for other in space[:index]):
            raise ConfigError(key, "is swept twice", hint=f"write all of its values in one place: {key}=a,b,c")
        if key in map(key_of, fixed):
            raise ConfigError(key, "is given one value and swept as well", hint="leave one of the two out")
    return tuple(space), fixed


def check_swept(space: Space) -> None:
    """Refuses a sweep that varies nothing."""
    if not space:
        raise ConfigError(
            "sweep", "nothing is swept", hint="give a key several values: optimizer.learning_rate=1e-3,1e-2"
        )


MOST = 1_000_000
"""Combinations that a grid may have: more of them are not even listed."""


def is_listed(space: Space) -> bool:
    """Whether a space consists of lists alone."""
    return not any(dimension.continuous for dimension in space)


def size(space: Space) -> int | None:
    """How many configurations a space has; None where a number may be any of an interval."""
    if any(dimension.continuous and not dimension.integer for dimension in space):
        return None
    return math.prod(len(dimension.values) for dimension in space)


def combinations(space: Space) -> Iterator[dict[str, str]]:
    """Every configuration of a space of lists and whole numbers; the last key varies fastest."""
    keys = [dimension.key for dimension in space]
    for values in itertools.product(*(map(str, dimension.values) for dimension in space)):
        yield dict(zip(keys, values, strict=True))


MOST_UNMET = 50
"""Choices of one key that are looked at beside those of the first round."""


def unmet(space: Space, met: Sequence[Mapping[str, str]]) -> Iterator[list[dict[str, str]]]:
    """For each key, configurations with those of its choices that none in `met` has, all other keys at their first."""
    first = {item.key: item.choices[0] if item.choices else item.text(item.low) for item in space}
    for item in space:
        had = {values.get(item.key) for values in met}
        yield [{**first, item.key: choice} for choice in item.choices if choice not in had][:MOST_UNMET]


def identity(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What is equal for equal configurations, whatever the order of their keys and the way their values are written."""
    return tuple(sorted((key, meaning(text)) for key, text in values.items()))


def asked_again(space: Space, trials: Sequence[Trial], most: int | None) -> list[Trial]:
    """The trials that a sweep is to know of as it is typed now: all that have begun or ended, and others if asked for.

    Those are the waiting ones with values of today, as many as today's budget has room for; the rest is left alone.

    Args:
        space: what is swept now.
        trials: all of the ledger, by number.
        most: how many trials the search is to have; None or 0 where that isn't fixed.
    """
    if any(trial.parent is not None for trial in trials):  # populations: what waits is a child of what has been trained
        return list(trials)
    fresh = {trial.number for trial in trials if trial.state == "waiting" and not trial.scores}
    asked = {trial.number for trial in trials if inside(space, trial.values) is not None}
    room = max(0, most - len(asked - fresh)) if most else len(trials)
    wanted = set(sorted(fresh & asked)[:room])
    return [trial for trial in trials if trial.number not in fresh or trial.number in wanted]


def inside(space: Space, values: Mapping[str, str]) -> dict[str, str] | None:
    """A configuration as this space has it; None where it is none of it: a list may have had other values once."""
    found = {dimension.key: dimension.held(values.get(dimension.key, "")) for dimension in space}
    return {key: text for key, text in found.items() if text is not None} if None not in found.values() else None
