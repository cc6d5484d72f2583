"""Floating-point operations of a traced computation.

XLA's own count (`cost_analysis`) takes the body of a loop once, however often it runs; this one multiplies by the
length of a scan, and by the number of devices that a `shard_map` body runs on. What no result depends on isn't counted,
because XLA drops it: the gradient by the inputs of the first layer, for one.

Elementwise operations count one a number. Of matrix decompositions, only Cholesky's has its formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

ATTENTION = {"dot_product_attention_fwd_wrapper": 1.0, "dot_product_attention_bwd_wrapper": 2.0}
"""cuDNN's attention as JAX names it, and its products in forward passes; what it computes again is left out."""
_PRODUCTS = ("dot_general", "ragged_dot_general", "conv_general_dilated", *ATTENTION)
_REDUCTIONS = {
    "reduce", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin", "cumsum", "cumprod",
    "cummax", "cummin", "cumlogsumexp",
}  # fmt: skip
_WINDOWS = {"reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min"}
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
    return total(traced, _operations)


def products_of(traced: ClosedJaxpr) -> float:
    """Operations of the matrix products and convolutions alone, as 6·N·D counts them."""
    return total(traced, lambda entry: _operations(entry) if entry.primitive.name in _PRODUCTS else 0.0)


def bytes_of(traced: ClosedJaxpr) -> float:
    """Bytes that its matrix products and convolutions read and write, if each reads its operands from memory once.

    What is between them XLA fuses into them, as far as it can.
    """
    return total(traced, _moved)


def total(traced: ClosedJaxpr, cost: Cost) -> float:
    """What its equations cost together, each as often as it is computed and if a result depends on it."""
    return _of(traced.jaxpr, cost)


def product_operations(equation: Any) -> float:
    """Operations of one matrix product or convolution."""
    return _FORMULAS[equation.primitive.name](equation)


def _of(jaxpr: Jaxpr, cost: Cost, used: Sequence[bool] | None = None) -> float:
    """The cost of the equations that the results depend on; of the results marked in `used`, where it is given."""
    marks = [True] * len(jaxpr.outvars) if used is None else used
    return sum(_equation(equation, cost, wanted) for equation, wanted in _live(jaxpr, marks)[0])


def _live(jaxpr: Jaxpr, marks: Sequence[bool]) -> tuple[list[tuple[Any, list[bool]]], set[int]]:
    """The equations that the marked results depend on, each with its own results that count; and all they read."""
    needed = {id(variable) for variable, mark in zip(jaxpr.outvars, marks, strict=True) if mark}
    found = []
    for equation in reversed(jaxpr.eqns):
        wanted = [id(variable) in needed for variable in equation.outvars]
        if any(wanted) or equation.effects:
            found.append((equation, wanted))
            needed |= {id(variable) for variable in equation.invars}
    return found, needed


def _equation(equation: Any, cost: Cost, used: Sequence[bool]) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        body = params["jaxpr"].jaxpr
        return float(params["length"]) * _of(body, cost, _through(body, used, *scanned(params)))
    if name == "while":  # of unknown length: one pass
        body, test = params["body_jaxpr"].jaxpr, params["cond_jaxpr"].jaxpr
        asked = _live(test, [True])[1]
        state = zip(test.invars[params["cond_nconsts"] :], used, strict=True)
        marks = [mark or id(variable) in asked for variable, mark in state]
        return _of(test, cost) + _of(body, cost, _through(body, marks, params["body_nconsts"], len(marks)))
    if name == "cond":
        return _branches(params, cost, used)
    if name == "shard_map":
        ways = math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
        return float(ways) * sum(_of(inner, cost) for inner in jaxprs_in(params))
    nested = list(jaxprs_in(params))
    if nested and not _combines(name):  # jit, remat, custom gradients
        return sum(_of(inner, cost, used if len(inner.outvars) == len(used) else None) for inner in nested)
    return cost(equation)


def _through(body: Jaxpr, used: Sequence[bool], constants: int, carried: int) -> list[bool]:
    """Which results of a loop's body count, where those marked are used after it: a pass needs others of the last."""
    marks = list(used)
    while True:
        needed = _live(body, marks)[1]
        before = marks
        state = body.invars[constants : constants + carried]
        marks = [mark or (at < carried and id(state[at]) in needed) for at, mark in enumerate(before)]
        if marks == before:
            return marks


def scanned(params: dict[str, Any]) -> tuple[int, int]:
    """How many of the inputs of a scan are constants, and how many are carried."""
    if "ft_in" in params:  # from jax 0.12 on
        constants, carried, _ = (len(list(part)) for part in params["ft_in"].unpack())
        return constants, carried
    return params["num_consts"], params["num_carry"]


def _combines(name: str) -> bool:
    """Whether the computation inside a primitive says how two numbers are put together."""
    return name in ("reduce", "reduce_window", "sort") or name.startswith("scatter")


def _operations(equation: Any) -> float:
    name = equation.primitive.name
    if name in _FORMULAS:
        return _FORMULAS[name](equation)
    if name in ATTENTION:
        return ATTENTION[name] * _attention(equation)
    if name in _MOVES:
        return 0.0
    if name in _WINDOWS:
        return float(_size(equation.outvars[0]) * math.prod(equation.params["window_dimensions"]))
    sizes = equation.invars if name in _REDUCTIONS else equation.outvars
    if name.startswith("scatter"):
        sizes = equation.invars[2:] if name != "scatter" else []  # the updates
    return float(sum(_size(variable) for variable in sizes if _is_real(variable)))


def _moved(equation: Any) -> float:
    if equation.primitive.name not in _PRODUCTS:
        return 0.0
    variables = (*equation.invars, *equation.outvars)
    return float(sum(_size(variable) * variable.aval.dtype.itemsize for variable in variables))


def _branches(params: dict[str, Any], cost: Cost, used: Sequence[bool]) -> float:
    """The longest branch; of those that are the same for different platforms, the one for all others.

    It says what is computed; that of a platform may do more, to be faster there. Where a cost may be below zero, the
    longest branch is the one that is the furthest from it.
    """
    platforms = params.get("branches_platforms")
    branches = params["branches"][-1:] if platforms else params["branches"]
    return max((_of(branch.jaxpr, cost, used) for branch in branches), key=abs)


def _dot(equation: Any) -> float:
    """2·(result)·(contracted): each number of the result is a sum of that many products."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return _pair(equation) * _size(equation.outvars[0]) * math.prod(left[dim] for dim in contracted)


def _ragged_dot(equation: Any) -> float:
    """As a product of all rows with one of the matrices: each row belongs to one group."""
    numbers = equation.params["ragged_dot_dimension_numbers"]
    (contracted, _), _ = numbers.dot_dimension_numbers
    left = equation.invars[0].aval.shape
    groups = equation.invars[2].aval.shape[-1] if set(numbers.lhs_ragged_dimensions) & set(contracted) else 1
    return _pair(equation) * _size(equation.outvars[0]) * math.prod(left[dim] for dim in contracted) / groups


def _pair(equation: Any) -> float:
    """Operations of a product and an addition: two, of complex numbers eight."""
    kind = equation.outvars[0].aval.dtype
    return 8.0 if jax.numpy.issubdtype(kind, jax.numpy.complexfloating) else 2.0


def _fourier(equation: Any) -> float:
    """5·n·log₂ n for each transform of n numbers (Cooley & Tukey 1965), as is usual."""
    lengths = equation.params["fft_lengths"]
    return 5.0 * max(map(_size, (*equation.invars, *equation.outvars))) * math.log2(max(2, math.prod(lengths)))


def _cholesky(equation: Any) -> float:
    """n³/3 for each matrix."""
    return _size(equation.outvars[0]) * equation.outvars[0].aval.shape[-1] / 3.0


def _triangular(equation: Any) -> float:
    """The size of the matrix for each number of the solution."""
    return float(_size(equation.outvars[0]) * equation.invars[0].aval.shape[-1])


def _attention(equation: Any) -> float:
    """4·B·N·H·(pairs of a query and a key that it sees): the weights, and the sum that they give the values."""
    batch, queries, heads, size = equation.invars[0].aval.shape
    keys = equation.invars[1].aval.shape[1]
    before = "CAUSAL" in getattr(equation.params["mask_type"], "name", "")
    pairs = sum(min(at + 1, keys) for at in range(queries)) if before else queries * keys
    return 4.0 * batch * heads * size * pairs


def _convolution(equation: Any) -> float:
    """2·(pairs of an input and a place of the window that give a result)·(input channels of a group).

    Along each dimension, two of the three say which is the third, so that there are at most as many as of any two.
    What is more in the call are zeros: padding, and the holes of a stride. So forward pass, gradient by the input and
    gradient by the kernel count the same, as they do by hand, and those of a transposed convolution too.
    """
    numbers = equation.params["dimension_numbers"]
    values, kernel = (variable.aval.shape for variable in equation.invars)
    result = equation.outvars[0].aval.shape
    sizes = [
        (values[at], kernel[window], result[to])
        for at, window, to in zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ]
    others = _size(equation.outvars[0]) / math.prod(to for _, _, to in sizes)
    pairs = math.prod(min(at * window, window * to, at * to) for at, window, to in sizes)
    return _pair(equation) * others * pairs * kernel[numbers.rhs_spec[1]]


_FORMULAS: dict[str, Cost] = {
    "dot_general": _dot, "ragged_dot_general": _ragged_dot, "conv_general_dilated": _convolution, "fft": _fourier,
    "cholesky": _cholesky, "triangular_solve": _triangular,
}  # fmt: skip


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
