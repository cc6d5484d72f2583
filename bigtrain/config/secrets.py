"""Values of the environment that a config names by `${oc.env:NAME}`: they are used, and neither printed nor stored.

What is stored is the config as written, `${oc.env:NAME}` itself. What is printed passes through `hidden`: a message
that quotes a value would show it.
"""

from __future__ import annotations

import os
import re
import sys

SHORTEST = 6
"""Characters of a value that is hidden. A shorter one is no secret, and would be found in the middle of other words."""

_NAMED = re.compile(r"oc\.env:\s*([^\s,{}]+)")
_NAMES: set[str] = set()


def remember(text: str) -> None:
    """From now on the values of the variables that a config's text names are hidden."""
    _NAMES.update(_NAMED.findall(text))


def hidden(text: str) -> str:
    """The text with each such value as the config names it."""
    values = {os.environ.get(name, ""): f"${{oc.env:{name}}}" for name in sorted(_NAMES)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, values[value]).replace(repr(value)[1:-1], values[value])
    return text


def print_error(text: str) -> None:
    """Prints a line for the person who typed the command, on stderr."""
    print(hidden(text), file=sys.stderr)
