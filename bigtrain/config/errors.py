"""Errors a user can cause, and the exit code each ends the process with.

    BigtrainError
    ├── InputError       exit 2: the command, a config, a file or a run directory is wrong; nothing was started
    │   ├── ConfigError  a key or a value, named by its dotted path
    │   └── DataError    a file or an array that can't be used, named by its path
    └── RunError         exit 1: the run started and could not go on (diverged, disk full); what was saved is intact

Interrupts end with 128 + the signal's number, as shells expect: 130 for SIGINT, 143 for SIGTERM. SIGUSR1, by which
Slurm warns of a job's limit, asks for the same as SIGTERM and ends with the same code. Of several processes all end
with the same code; where one is lost, the others end with 1.
"""

from __future__ import annotations

import difflib
import re
import signal
import unicodedata
from collections.abc import Iterable


class BigtrainError(Exception):
    """An error that is answered with one message and an exit code, never with a traceback."""

    exit_code = 1


class InputError(BigtrainError):
    """Something given by the user is wrong; nothing was started and nothing was written."""

    exit_code = 2


class RunError(BigtrainError):
    """A run that started could not go on; what was saved before is intact."""


class ConfigError(InputError):
    """A config key or value is wrong: the path, the value, what is allowed, and what to type instead."""

    def __init__(
        self, path: str, problem: str, *, allowed: str | Iterable[str] | None = None, hint: str | None = None
    ) -> None:
        self.path, self.problem, self.hint = path, problem, hint
        self.allowed = allowed if allowed is None or isinstance(allowed, str) else ", ".join(allowed)
        lines = [f"{path}: {problem}" if path else problem]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if hint:
            lines.append(f"  {hint}")
        super().__init__("\n".join(lines))


class DataError(InputError):
    """A data file or array can't be used: its path, what is wrong with it, and what to do."""

    def __init__(self, where: object, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"{where}: {problem}" + (f"\n  {hint}" if hint else ""))


def jax_setting(error: Exception) -> ConfigError | None:
    """JAX's refusal, while it is imported, of a value in the environment; None for any other error."""
    forms = r"Invalid value (.+) for JAX flag (\w+)", r"invalid truth value (.+) for environment '?(\w+)"
    for form in forms if isinstance(error, ValueError) else ():
        if found := re.match(form, str(error)):
            value, name = found[1], found[2].upper()
            return ConfigError(name, f"JAX takes no {value} for it", hint=f"unset {name}")
    return None


def harmless(text: str) -> str:
    """The text without control characters, which a terminal would obey; a name in a file may be a stranger's."""
    return "".join(
        "\ufffd" if unicodedata.category(character) == "Cc" and character not in "\n\t" else character
        for character in text
    )


def code_of(number: int) -> int:
    """The exit code of a run that ended for a signal, with everything saved."""
    return 128 + (signal.SIGTERM if number == signal.SIGUSR1 else number)


def nearest(word: str, choices: Iterable[str], *, number: int = 1, cutoff: float = 0.6) -> list[str]:
    """The choices spelled most like `word`, best first; empty when none is close."""
    return difflib.get_close_matches(word, list(choices), n=number, cutoff=cutoff)


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the nearest spelling, or None when nothing is near."""
    found = nearest(word, choices)
    return f"did you mean {found[0]!r}?" if found else None
