"""What holds for every sweep, whichever its search: the keys of `sweep` that are no field of the search itself."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bigtrain.config import compose, groups, signature
from bigtrain.config.check import Node, check_node
from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.config.overrides import key_of
from bigtrain.config.trust import Trust

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}

Score = Literal["last", "best"]
"""Which evaluation of a run is its score."""


@dataclass(frozen=True)
class SweepConfig:
    """What holds for every sweep.

    Args:
        objectives: validation metrics, or `parameters`, to look for the best of: `accuracy`, `[loss,parameters]`, or
            with a direction `[accuracy:max]`; the first decides which trial is best. None takes checkpoint.monitor.
        score: what counts of a trial: the score of its last step, or the best of all its evaluations.
        timeout: no trial starts after so long a time: 45s, 30min, 8h, 2d.
        retry: try again what has failed in this sweep, instead of leaving it failed.
        params: swept keys with their values, as on the command line: for a sweep that is kept in a file.
    """

    objectives: tuple[str, ...] = ()
    score: Score = "last"
    timeout: str | None = None
    retry: bool = False
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """The time limit."""
        if self.timeout is None:
            return None
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*", self.timeout)
        if found is None or float(found[1]) == 0:
            raise ConfigError("sweep.timeout", f"{self.timeout!r} is not allowed", allowed="a time: 45s, 30min, 8h, 2d")
        return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True)
class SweepChoice:
    """A sweep as configured: its search, and what holds for all."""

    name: str
    search: Node
    common: SweepConfig


def read(texts: Sequence[str], config_dir: str | Path | None, trusted: Trust) -> SweepChoice:
    """The sweep that `sweep=NAME` and `sweep.KEY=VALUE` ask for; without a name, a grid.

    Raises:
        ConfigError: for a name, a key or a value that isn't allowed.
    """
    choices = groups.groups(groups.search_dirs(config_dir)).get("sweep", {})
    name, values = "grid", {}
    for text in texts:
        given = compose.parse(text)
        if given is None or given.several or given.deletes:
            raise ConfigError(key_of(text), f"{text!r} can't be read", allowed="sweep=NAME and sweep.KEY=VALUE")
        if given.key == "sweep":
            name = str(given.value)
        else:
            values[given.key.removeprefix("sweep.")] = given.value
    if name not in choices:
        hint = did_you_mean(name, choices) or "see them with: bigtrain configs sweep"
        raise ConfigError("sweep", f"there is no sweep {name!r}", allowed=choices, hint=hint)
    table = {**groups.describe("sweep", name, choices[name]).values, **values}
    known = [item.name for item in dataclasses.fields(SweepConfig)]
    common = {key: table.pop(key) for key in list(table) if key in known}
    return SweepChoice(name, check_node("sweep", table, trusted, known), _common(common))


def _common(values: Mapping[str, Any]) -> SweepConfig:
    from bigtrain.config.check import converted

    callee = signature.read("bigtrain.config.sweep_schema.SweepConfig")
    if isinstance(values.get("objectives"), str):
        values = {**values, "objectives": [values["objectives"]]}
    found = {key: converted(f"sweep.{key}", callee.parameters[key], value) for key, value in values.items()}
    made = SweepConfig(**found)
    _ = made.seconds  # a mistake in it is told now
    return made
