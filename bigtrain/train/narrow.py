"""Products with a narrow result, such as a first layer of 64 units makes of a picture, on a CPU.

XLA gives products to YNNPACK if their left factor is contracted over its last dimension. YNNPACK spreads wide results
over the cores and leaves one of a tile's width to one of them; Eigen, which takes what YNNPACK doesn't, splits those as
well. A step of an MLP 784-64-64-10 with 32 examples takes 0.78 of its time that way, one of a VAE with such layers
0.90; wider ones take up to 1.3 times theirs (benchmarks/LOG.md).
"""

from __future__ import annotations

import math
from typing import Any

from jax.extend.core import ClosedJaxpr

from bigtrain.train.flops import product_operations, total

WIDEST = 128  # columns of a result that YNNPACK leaves to one core, as far as was seen
DEEP = 4  # times as many numbers are summed for each of the result as it has columns
ROWS = 32
WORTH = 3e6  # operations from which on Eigen splits a product over two cores


def mostly_narrow(traced: ClosedJaxpr) -> bool:
    """Whether more than half of the operations of the products that YNNPACK would take are in narrow ones."""
    return total(traced, _for_it) > 0


def _for_it(equation: Any) -> float:
    """The operations of a narrow product; less than zero, those of another one that YNNPACK would take."""
    if equation.primitive.name == "conv_general_dilated":
        return -product_operations(equation)
    if equation.primitive.name != "dot_general":
        return 0.0
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    left, right = (variable.aval for variable in equation.invars)
    if sorted(contracted) != list(range(left.ndim - len(contracted), left.ndim)):
        return 0.0
    operations = product_operations(equation)
    if operations < WORTH or batch:
        return -operations
    depth = math.prod(left.shape[dim] for dim in contracted)
    rows, columns = left.size // depth, right.size // depth
    return operations if rows >= ROWS and columns <= WIDEST and depth >= DEEP * columns else -operations
