"""Loops that update an array in place, and whether what they started with matters to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jax.extend.core import Jaxpr, Literal

from bigtrain.train.flops import jaxprs_in, scanned

_LOOPS = ("scan", "while")
_SAME = {
    "reshape", "squeeze", "expand_dims", "transpose", "convert_element_type", "copy", "copy_p", "broadcast_in_dim",
    "sharding_constraint", "optimization_barrier", "reduce_precision", "stop_gradient", "name",
}  # fmt: skip
"""What XLA may turn into another look at the same memory."""


@dataclass(frozen=True)
class _Write:
    """An update of a part of an array: by an equation that gives the result, or in a function that is called (None)."""

    array: Any
    equation: Any = None
    result: Any = None


def reads_what_it_writes(jaxpr: Jaxpr) -> bool:
    """Whether a loop updates a part of an array that it carries, and looks at that array in the same round.

    Then what the array held at the start may be looked at, too. The results that a scan stacks are no such array: they
    can't be looked at before its end.
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name in _LOOPS:
            body, carried = _carried(equation)
            origin = _origins(body)
            writes = [write for write in _writes(body, origin) if write.array in carried]
            if not all(_alone(body, carried, origin, write) for write in writes):
                return True
        if any(map(reads_what_it_writes, jaxprs_in(equation.params))):
            return True
    return False


def _carried(equation: Any) -> tuple[Jaxpr, dict[Any, Any]]:
    """The body of a loop, and what it carries from round to round: each input by the output that is the next one.

    None for what the condition of the loop looks at.
    """
    params = equation.params
    if equation.primitive.name == "scan":
        body, (first, number) = params["jaxpr"].jaxpr, scanned(params)
        return body, dict(zip(body.invars[first : first + number], body.outvars, strict=False))
    body, condition = params["body_jaxpr"].jaxpr, params["cond_jaxpr"].jaxpr
    looked_at = {given for entry in condition.eqns for given in entry.invars if not isinstance(given, Literal)}
    state, twins = body.invars[params["body_nconsts"] :], condition.invars[params["cond_nconsts"] :]
    carried = zip(state, body.outvars, twins, strict=True)
    return body, {given: None if twin in looked_at else found for given, found, twin in carried}


def _origins(jaxpr: Jaxpr) -> dict[Any, Any]:
    """The variable that each other look at it comes from, also by way of a function that is called."""
    origin: dict[Any, Any] = {}
    for equation in jaxpr.eqns:
        if equation.primitive.name in _SAME:
            looks = list(zip(equation.outvars, equation.invars, strict=False))
        else:
            looks = [look for inner in _called(equation) for look in _through(equation, inner)]
        origin |= {found: origin.get(given, given) for found, given in looks if not isinstance(given, Literal)}
    return origin


def _through(equation: Any, inner: Jaxpr) -> Iterator[tuple[Any, Any]]:
    """Each result of a function that is another look at an argument, and that argument."""
    within, given = _origins(inner), _arguments(equation, inner)
    for result, found in zip(equation.outvars, inner.outvars, strict=False):
        if not isinstance(found, Literal) and within.get(found, found) in given:
            yield result, given[within.get(found, found)]


def _writes(jaxpr: Jaxpr, origin: dict[Any, Any]) -> Iterator[_Write]:
    """Each array that is updated in part, by the variable that it comes from."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dynamic_update_slice" or name.startswith("scatter"):
            found = [_Write(equation.invars[0], equation, equation.outvars[0])]
        elif name in _LOOPS:
            body, carried = _carried(equation)
            given, result = _arguments(equation, body), dict(zip(carried, equation.outvars, strict=False))
            inside = {write.array for write in _writes(body, _origins(body))} & given.keys()
            found = [_Write(given[array], equation, result.get(array)) for array in inside]
        else:
            found = [
                _Write(_arguments(equation, inner).get(write.array))
                for inner in _called(equation)
                for write in _writes(inner, _origins(inner))
            ]
        for write in found:
            if write.array is not None and not isinstance(write.array, Literal):
                yield _Write(origin.get(write.array, write.array), write.equation, write.result)


def _called(equation: Any) -> list[Jaxpr]:
    """The functions that an equation calls once, or that one is chosen of."""
    return [] if equation.primitive.name in _LOOPS else list(jaxprs_in(equation.params))


def _arguments(equation: Any, inner: Jaxpr) -> dict[Any, Any]:
    """What is given for each input of a function inside; what the equation takes before them is its own."""
    return dict(zip(reversed(inner.invars), reversed(equation.invars), strict=False))


def _alone(body: Jaxpr, carried: dict[Any, Any], origin: dict[Any, Any], write: _Write) -> bool:
    """Whether a carried array is used by the write alone, and what that gives by the next round alone."""
    if write.equation is None:
        return False

    def own(given: Any) -> bool:
        return not isinstance(given, Literal) and origin.get(given, given) in (write.array, write.result)

    for equation in body.eqns:
        uses = sum(map(own, equation.invars))
        if equation.primitive.name not in _SAME and uses > (1 if equation is write.equation else 0):
            return False
    found = [output for output in body.outvars if own(output)]
    return len(found) == 1 and found[0] is carried[write.array]
