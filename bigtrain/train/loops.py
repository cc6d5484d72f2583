"""Loops that update an array in place, and whether what they started with matters to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jax.extend.core import Jaxpr, Literal

from bigtrain.train.flops import jaxprs_in, scanned

_SAME = {
    "reshape", "squeeze", "expand_dims", "transpose", "convert_element_type", "copy", "copy_p", "broadcast_in_dim",
    "sharding_constraint", "optimization_barrier", "reduce_precision", "stop_gradient", "name",
}  # fmt: skip
"""What XLA may turn into another look at the same memory."""


def reads_what_it_writes(jaxpr: Jaxpr) -> bool:
    """Whether a loop updates a part of an array that it carries, and looks at that array in the same round.

    Then what the array held at the start may be looked at, too. The results that a scan stacks are no such array: they
    can't be looked at before its end.
    """
    for equation in jaxpr.eqns:
        for body, carried in _loops(equation):
            if any(
                variable in carried and not _alone(body, carried, variable, write) for variable, write in _writes(body)
            ):
                return True
        if any(reads_what_it_writes(inner) for inner in jaxprs_in(equation.params)):
            return True
    return False


def _loops(equation: Any) -> Iterator[tuple[Jaxpr, dict[Any, Any]]]:
    """The body of a loop, and what it carries from round to round: each input by the output that is the next one.

    None for what the condition of the loop looks at.
    """
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        body, (first, number) = params["jaxpr"].jaxpr, scanned(params)
        yield body, dict(zip(body.invars[first : first + number], body.outvars, strict=False))
    elif name == "while":
        body, condition = params["body_jaxpr"].jaxpr, params["cond_jaxpr"].jaxpr
        looked_at = {given for entry in condition.eqns for given in entry.invars if not isinstance(given, Literal)}
        carried = zip(
            body.invars[params["body_nconsts"] :], body.outvars, condition.invars[params["cond_nconsts"] :], strict=True
        )
        yield body, {given: None if twin in looked_at else found for given, found, twin in carried}


def _writes(jaxpr: Jaxpr) -> Iterator[tuple[Any, Any]]:
    """Each array that is updated in part, by where it comes from, and the equation; None where that is further in."""
    origin: dict[Any, Any] = {}
    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, equation.invars
        if name in _SAME:
            _follow(origin, equation)
        elif name == "dynamic_update_slice" or name.startswith("scatter"):
            if not isinstance(given[0], Literal):
                yield origin.get(given[0], given[0]), equation
        elif name not in ("scan", "while"):
            for inner in jaxprs_in(equation.params):
                places = {variable: place - len(inner.invars) for place, variable in enumerate(inner.invars)}
                for variable, _ in _writes(inner):
                    if variable in places and -places[variable] <= len(given):
                        argument = given[places[variable]]
                        if not isinstance(argument, Literal):
                            yield origin.get(argument, argument), None


def _alone(body: Jaxpr, carried: dict[Any, Any], variable: Any, write: Any) -> bool:
    """Whether a carried array is used by the write alone, and what that gives by the next round alone."""
    if write is None:
        return False
    origin = {write.outvars[0]: variable}

    def own(given: Any) -> bool:
        return not isinstance(given, Literal) and origin.get(given, given) is variable

    for equation in body.eqns:
        if equation.primitive.name in _SAME:
            _follow(origin, equation)
        elif any(map(own, equation.invars[1:] if equation is write else equation.invars)):
            return False
    found = [output for output in body.outvars if own(output)]
    return len(found) == 1 and found[0] is carried[variable]


def _follow(origin: dict[Any, Any], equation: Any) -> None:
    for given, found in zip(equation.invars, equation.outvars, strict=False):
        if not isinstance(given, Literal):
            origin[found] = origin.get(given, given)
