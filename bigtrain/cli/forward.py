"""Options that `bigtrain launch` passes on to the processes that it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bigtrain.config.errors import ConfigError


def passed_on(verb: str, given: Mapping[str, Any], refused: Mapping[str, Any]) -> list[str]:
    """The options for each process, as they are typed; those of another verb are refused."""
    for name in (name for name, value in refused.items() if value):
        raise ConfigError(name, f"is no option of {verb}", allowed=given)
    options = []
    for name, value in given.items():
        if value is True:
            options.append(name)
        elif value:
            options += [text for each in (value if isinstance(value, list) else [value]) for text in (name, str(each))]
    return options
