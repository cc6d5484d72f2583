"""Which code a config may name: a `_target_` is a call, and a config file may come from a stranger.

The list starts with bigtrain, Flax and Optax; only the person at the keyboard widens it (`--trust`, or `plugins` on the
command line or in their own --config-dir). A config that comes with a run directory never does.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from bigtrain.config import signature
from bigtrain.config.errors import ConfigError

BUILTIN = ("bigtrain", "flax", "optax")


@dataclass(frozen=True)
class Trust:
    """The packages whose classes and functions may be built."""

    packages: frozenset[str] = frozenset(BUILTIN)

    @classmethod
    def of(cls, trust: Iterable[str] = (), plugins: Iterable[str] = ()) -> Trust:
        """The built-in packages and the user's own; the working directory becomes importable for the latter."""
        named = [*(("--trust", name) for name in trust), *(("plugins", name) for name in plugins)]
        if named and "" not in sys.path:
            sys.path.append("")  # last: a file of the working directory must not stand in for an installed module
        for path, name in named:
            if not name.isidentifier():
                raise ConfigError(path, f"{name!r} is no package name", allowed="top-level packages, e.g. mypkg")
            if not signature.installed(name):
                hint = "run in the folder that holds it, or install it"
                raise ConfigError(path, f"there is no package {name!r}", hint=hint)
        return cls(frozenset(BUILTIN) | {name for _, name in named})

    def contains(self, found: object) -> bool:
        """Whether an object was defined in one of the packages."""
        return (getattr(found, "__module__", None) or "").split(".")[0] in self.packages

    def check_name(self, path: str, target: str) -> None:
        """Refuses a target outside the list by its name alone, before anything is imported."""
        parts = target.split(".")
        plain = all(part.isidentifier() and not part.startswith("__") for part in parts)  # __main__ starts a program
        if parts[0] not in self.packages or not plain or len(parts) < 2:
            yours = parts[0].isidentifier() and parts[0] not in {*self.packages, *sys.stdlib_module_names}
            hint = f"if the code is yours, add --trust {parts[0]}" if yours else None
            allowed = "code of " + ", ".join(sorted(self.packages))
            raise ConfigError(path, f"{target!r} may not be built", allowed=allowed, hint=hint)

    def check_object(self, path: str, target: str, found: object) -> None:
        """Refuses what the name led to, if it is no class or function or was defined outside the list.

        `bigtrain.x.os.system` starts with an allowed name: only the object knows where it comes from.
        """
        if not (inspect.isclass(found) or inspect.isfunction(found)) or not self.contains(found):
            where = getattr(found, "__module__", None) or "no module"
            problem = f"{target!r} may not be built: it is a {type(found).__name__} of {where}"
            allowed = "classes and functions of " + ", ".join(sorted(self.packages))
            raise ConfigError(path, problem, allowed=allowed)
