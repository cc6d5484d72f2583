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
_VALUES: dict[str, str] = {}


def remember(text: str) -> None:
    """From now on the values of the variables that a config's text names are hidden."""
    for name in _NAMED.findall(text):
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST:
            _VALUES[value] = f"${{oc.env:{name}}}"


def hidden(text: str) -> str:
    """The text with each such value as the config names it."""
    for value in sorted(_VALUES, key=len, reverse=True):
        text = text.replace(value, _VALUES[value]).replace(repr(value)[1:-1], _VALUES[value])
    return text


def print_error(text: str) -> None:
    """Prints a line for the person who typed the command, on stderr."""
    print(hidden(text), file=sys.stderr)
