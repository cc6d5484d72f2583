"""What a sweep varies: one dimension for each key that was given several values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigtrain.config.errors import ConfigError
from bigtrain.config.overrides import key_of
from bigtrain.config.sweeps import swept


@dataclass(frozen=True)
class Dimension:
    """The values of one key: a list of choices, or an interval.

    Args:
        key: the dotted path of the key, or a config group.
        choices: the values as they would be typed after `key=`; empty for an interval.
        low: the smallest value of an interval.
        high: its largest.
        log: whether the logarithm is what varies evenly.
        integer: whether an interval holds whole numbers only.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False

    @property
    def continuous(self) -> bool:
        """Whether this is an interval: a grid can't list it."""
        return not self.choices

    @property
    def values(self) -> Sequence[object]:
        """The choices, or the whole numbers of an interval."""
        return self.choices or range(round(self.low), round(self.high) + 1)

    def text(self, value: float) -> str:
        """A number of the interval as it would be typed: read back, it is the very same number."""
        return str(round(value)) if self.integer else repr(float(value))

    def clipped(self, value: float) -> str:
        """The number of the interval that is nearest to `value`, as it would be typed."""
        return self.text(min(max(value, self.low), self.high))


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
            continue
        space.append(Dimension(found.key, found.choices, found.low, found.high, found.log, found.integer))
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


def identity(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What is equal for equal configurations, whatever the order of their keys."""
    return tuple(sorted(values.items()))
