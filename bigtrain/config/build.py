"""The only place where a `_target_` becomes an object."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bigtrain.config.check import Node
from bigtrain.config.errors import BigtrainError, ConfigError
from bigtrain.config.trust import Trust


@dataclass(frozen=True)
class Part:
    """What may be built for a group: being code of an allowed package isn't enough, `flax.io.rmtree` is that too.

    Args:
        text: what it is, for messages.
        returns: what a function must say that it returns; a class has one of these among its bases.
        methods: a class that has all of these will do as well.
    """

    text: str
    returns: tuple[str, ...]
    methods: tuple[str, ...] = ()

    def admits(self, found: Callable[..., Any], returns: str) -> bool:
        """Whether a class or function is of the kind, by its bases and methods, or by what it says that it returns."""
        if not inspect.isclass(found):
            return returns in self.returns
        named = any(base.__name__ in self.returns for base in found.__mro__)
        return named or (bool(self.methods) and all(hasattr(found, name) for name in self.methods))


PARTS: Mapping[str, Part] = {
    "model": Part("a flax.nnx.Module, or a function -> Module", ("Module",)),
    "data": Part("a function -> Dataset", ("Dataset",)),
    "task": Part("a class with elements(model, batch, rngs), or a function -> Task", ("Task",), ("elements",)),
    "optimizer": Part(
        "a function -> GradientTransformation", ("GradientTransformation", "GradientTransformationExtraArgs")
    ),
    "schedule": Part("a function -> Shape", ("Shape",)),
    "loggers": Part(
        "a class with log(step, scalars) and close(), or a function -> Logger", ("Logger",), ("log", "close")
    ),
    "augment": Part("a class with apply(batch, key), or a function -> Augmentation", ("Augmentation",), ("apply",)),
    "sweep": Part("a class with propose(trials), or a function -> Search", ("Search",), ("propose",)),
}


def resolve(node: Node, trusted: Trust) -> Callable[..., Any]:
    """The class or function that a node names, checked to be of an allowed package and of the group's kind.

    A function of the user's own package may leave out what it returns; one of the built-in packages may not.
    """
    path, target = f"{node.path}._target_", node.callee.target
    trusted.check_name(path, target)
    found = _imported(path, target)
    trusted.check_object(path, target, found)
    part = PARTS[node.path.split(".")[0]]
    silent = not node.callee.is_class and not node.callee.returns and not Trust().contains(found)
    if not silent and not part.admits(found, node.callee.returns):
        gives = "" if node.callee.is_class else f" -> {node.callee.returns or 'an unnamed type'}"
        raise ConfigError(path, f"{target!r}{gives} can't be used here", allowed=part.text)
    return found  # type: ignore[no-any-return]


def _imported(path: str, target: str) -> Any:
    """The object at a dotted path; the longest prefix that is a module is imported."""
    names = target.split(".")
    found: Any = None
    for cut in range(len(names) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(names[:cut]))
            break
        except ModuleNotFoundError as error:
            if error.name is None or not f"{target}.".startswith(f"{error.name}."):
                problem = f"{target!r} needs the package {error.name!r}, which is not installed"
                raise ConfigError(path, problem, hint=f"pip install {error.name}") from error
    for name in names[cut:]:
        found = getattr(found, name, None)
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
