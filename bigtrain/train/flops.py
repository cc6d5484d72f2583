"""Floating-point operations of a traced computation.

XLA's own count (`cost_analysis`) takes the body of a loop once, however often it runs; this one multiplies by the
length of a scan, and by the number of devices that a `shard_map` body runs on. What no result depends on isn't counted,
because XLA drops it: the gradient by the inputs of the first layer, for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

ATTENTION = {"dot_product_attention_fwd_wrapper": 1.0, "dot_product_attention_bwd_wrapper": 2.0}
"""cuDNN's attention as JAX names it, and its products in forward passes; what it computes again is left out."""
_PRODUCTS = ("dot_general", "conv_general_dilated", *ATTENTION)
_REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin", "cumsum", "cumlogsumexp"}
_MOVES = {
    "broadcast_in_dim", "reshape", "transpose", "convert_element_type", "slice", "dynamic_slice", "gather",
    "concatenate", "pad", "squeeze", "copy", "iota", "rev", "dynamic_update_slice", "select_n", "stop_gradient",
    "split", "sharding_constraint", "random_bits", "random_wrap", "random_unwrap", "random_fold_in", "random_seed",
    "random_split",
}  # fmt: skip
"""What moves or makes numbers without arithmetic on them; every other primitive counts one operation a result."""

Cost = Callable[[Any], float]
"""What one equation costs that has no computation inside."""


def count(function: Callable[..., Any], *arguments: Any, products: bool = False) -> float:
    """Operations of one call, from shapes alone: a multiplication and an addition are two.

    Args:
        function: what is traced.
        arguments: arrays or `jax.ShapeDtypeStruct`s.
        products: count matrix products and convolutions alone.
    """
    return (products_of if products else flops_of)(jax.make_jaxpr(function)(*arguments))


def flops_of(traced: ClosedJaxpr) -> float:
    """Operations of a computation that is traced already; a loop of unknown length counts as one pass."""
    return _of(traced.jaxpr, _operations)


def products_of(traced: ClosedJaxpr) -> float:
    """Operations of the matrix products and convolutions alone, as 6·N·D counts them."""
    return _of(traced.jaxpr, lambda entry: _operations(entry) if entry.primitive.name in _PRODUCTS else 0.0)


def bytes_of(traced: ClosedJaxpr) -> float:
    """Bytes that its matrix products and convolutions read and write, if each reads its operands from memory once.

    What is between them XLA fuses into them, as far as it can.
    """
    return _of(traced.jaxpr, _moved)


def _of(jaxpr: Jaxpr, cost: Cost, used: Sequence[bool] | None = None) -> float:
    """The cost of the equations that the results depend on; of the results marked in `used`, where it is given."""
    marks = [True] * len(jaxpr.outvars) if used is None else used
    needed = {id(variable) for variable, mark in zip(jaxpr.outvars, marks, strict=True) if mark}
    total = 0.0
    for equation in reversed(jaxpr.eqns):
        wanted = [id(variable) in needed for variable in equation.outvars]
        if any(wanted) or equation.effects:
            total += _equation(equation, cost, wanted)
            needed |= {id(variable) for variable in equation.invars}
    return total


def _equation(equation: Any, cost: Cost, used: Sequence[bool]) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return float(params["length"]) * _of(params["jaxpr"].jaxpr, cost)
    if name == "cond":
        return _branches(params, cost, used)
    if name == "shard_map":
        return float(params["mesh"].size) * sum(_of(inner, cost) for inner in jaxprs_in(params))
    nested = list(jaxprs_in(params))
    if nested:  # jit, remat, custom gradients, and a `while` of unknown length, whose body counts once
        return sum(_of(inner, cost, used if len(inner.outvars) == len(used) else None) for inner in nested)
    return cost(equation)


def _operations(equation: Any) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name in ATTENTION:
        return ATTENTION[name] * _attention(equation)
    if name in _MOVES:
        return 0.0
    sizes = equation.invars if name in _REDUCTIONS else equation.outvars
    return float(sum(_size(variable) for variable in sizes if _is_real(variable)))


def _moved(equation: Any) -> float:
    if equation.primitive.name not in _PRODUCTS:
        return 0.0
    variables = (*equation.invars, *equation.outvars)
    return float(sum(_size(variable) * variable.aval.dtype.itemsize for variable in variables))


def _branches(params: dict[str, Any], cost: Cost, used: Sequence[bool]) -> float:
    """The longest branch; of those that are the same for different platforms, the one for all others.

    It says what is computed; that of a platform may do more, to be faster there.
    """
    platforms = params.get("branches_platforms")
    branches = params["branches"][-1:] if platforms else params["branches"]
    return max(_of(branch.jaxpr, cost, used) for branch in branches)


def _dot(equation: Any) -> float:
    """2·(result)·(contracted): each number of the result is a sum of that many products."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * _size(equation.outvars[0]) * math.prod(left[dim] for dim in contracted)


def _attention(equation: Any) -> float:
    """4·B·N·H·(pairs of a query and a key that it sees): the weights, and the sum that they give the values."""
    batch, queries, heads, size = equation.invars[0].aval.shape
    keys = equation.invars[1].aval.shape[1]
    before = "CAUSAL" in getattr(equation.params["mask_type"], "name", "")
    pairs = sum(min(at + 1, keys) for at in range(queries)) if before else queries * keys
    return 4.0 * batch * heads * size * pairs


def _convolution(equation: Any) -> float:
    """2·(result or input, the smaller)·(kernel): window × input channels of a group, for each place of the window.

    Along each dimension, the places are those of the result; but in the gradient by the input, which is larger than
    what it is computed from, padding and the holes of a stride are multiplied by as well, and they are zeros. So
    forward pass, gradient by the input and gradient by the kernel count the same, as they do by hand.
    """
    numbers = equation.params["dimension_numbers"]
    values, kernel = (variable.aval.shape for variable in equation.invars)
    result = equation.outvars[0].aval.shape
    places = [
        (min(values[at], result[to]), kernel[window], result[to])
        for at, window, to in zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ]
    others = _size(equation.outvars[0]) / math.prod(size for _, _, size in places)
    channels = kernel[numbers.rhs_spec[1]]
    return 2.0 * others * math.prod(place * window for place, window, _ in places) * channels


def jaxprs_in(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The computations inside an equation of these parameters."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _size(variable: Any) -> int:
    return math.prod(getattr(variable.aval, "shape", ()))


def _is_real(variable: Any) -> bool:
    return jax.numpy.issubdtype(getattr(variable.aval, "dtype", jax.numpy.int32), jax.numpy.inexact)
