"""The numbers among the arguments of components: they enter the compiled program as arguments, not as constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from bigtrain.config import kinds
from bigtrain.config.check import Node
from bigtrain.config.duration import Duration


def of(node: Node, to_steps: Callable[[Duration], int]) -> dict[str, float]:
    """The real numbers and durations that a node was given, by dotted path; integers and switches stay constants."""
    found: dict[str, float] = {}
    for name, parameter in node.callee.parameters.items():
        value = node.arguments.get(name, parameter.default if _is_duration(parameter.kind) else None)
        if _is_duration(parameter.kind) and value is not None:
            found[f"{node.path}.{name}"] = float(to_steps(Duration.parse(value)))
        elif (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and _is_real(parameter.kind, parameter.default)
        ):
            found[f"{node.path}.{name}"] = float(value)
    return found


def fill(node: Node, numbers: Mapping[str, Any]) -> Node:
    """The node with its numbers replaced by others: by traced values, while a program is being compiled."""
    prefix = f"{node.path}."
    given = {path[len(prefix) :]: value for path, value in numbers.items() if path.startswith(prefix)}
    return dataclasses.replace(node, arguments={**node.arguments, **given})


def _is_duration(kind: kinds.Kind) -> bool:
    return any(isinstance(option, kinds.Span) for option in _options(kind))


def _is_real(kind: kinds.Kind, default: object) -> bool:
    for option in _options(kind):
        if isinstance(option, kinds.Number) and not option.integer:
            return True
        if isinstance(option, kinds.Quantity) and not (isinstance(default, int) and not isinstance(default, bool)):
            return True
    return False


def _options(kind: kinds.Kind) -> tuple[kinds.Kind, ...]:
    return kind.options if isinstance(kind, kinds.Either) else (kind,)
