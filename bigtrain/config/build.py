"""The only place where a `_target_` becomes an object."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from bigtrain.config.check import Node
from bigtrain.config.errors import BigtrainError, ConfigError
from bigtrain.config.trust import Trust

_RETURNS: Mapping[str, tuple[str, ...]] = {
    "data": ("Dataset",),
    "optimizer": ("GradientTransformation", "GradientTransformationExtraArgs"),
    "schedule": ("Shape",),
}
"""What a function of each group must say that it returns; a function of a trusted package of the user's may say nothing."""


def resolve(node: Node, trusted: Trust) -> Callable[..., Any]:
    """The class or function that a node names, checked to be of an allowed package and of the group's kind."""
    path, target = f"{node.path}._target_", node.callee.target
    trusted.check_name(path, target)
    names = target.split(".")
    module = None
    for cut in range(len(names) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(names[:cut]))
            break
        except ModuleNotFoundError as error:
            if error.name is None or not target.startswith(error.name):
                raise ConfigError(
                    path, f"{target!r} needs the package {error.name!r}, which is not installed"
                ) from error
    found: Any = module
    for name in names[cut:]:
        found = getattr(found, name, None)
    trusted.check_object(path, target, found)
    returns = _RETURNS.get(node.path.split(".")[0])
    if returns and not node.callee.is_class and node.callee.returns not in (*returns, ""):
        raise ConfigError(path, f"{target!r} returns {node.callee.returns}", allowed=returns)
    return found


def build(node: Node, trusted: Trust, **supplied: Any) -> Any:
    """Calls a node's target with its arguments and with those of `supplied` that it asks for by name.

    An error that the callee raises about an argument (`ValueError`, `TypeError`) becomes a `ConfigError` with the path.
    """
    found = resolve(node, trusted)
    wanted = {name: value for name, value in supplied.items() if name in node.callee.parameters}
    try:
        return found(**node.arguments, **wanted)
    except BigtrainError:
        raise
    except (ValueError, TypeError) as error:
        if _raised_by_jax(error):
            raise
        raise ConfigError(node.path, f"{node.callee.target} can't be built: {error}") from error


def _raised_by_jax(error: Exception) -> bool:
    return type(error).__module__.startswith("jax")
