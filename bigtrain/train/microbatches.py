"""In how many microbatches a CPU computes a step, where the config leaves it open.

A CPU is as fast as its caches. What the forward pass keeps for the backward pass goes to memory and comes back; of a
part of the batch there is less of it, and what one layer has made is still near when the next one reads it. On the
other hand each microbatch calls every kernel, and adds its gradient to what those before have given. A third of the
time of a step can be at stake, and most of its memory (benchmarks/LOG.md).

The gradient of the parts is that of the whole but for rounding, and a batch is cut only where that is so: not where a
step draws random numbers or measures the batch, nor in a model or a task that isn't bigtrain's own, which may compare
the examples of a batch. Nor is it where a step scans, as a recurrent network does: each part would take as many turns.
The choice depends on the config, the shapes of the data, the mesh and the version of JAX: a run that goes on makes it
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from bigtrain.parallel.rules import Rules
from bigtrain.train.determinism import primitives
from bigtrain.train.flops import jaxprs_in, products_of

if TYPE_CHECKING:
    from bigtrain.train.program import Definition

LEAST = 40 << 20  # bytes that a microbatch holds; with less, calling the kernels takes what the caches give
REUSED = 1000  # operations that it does for each byte of the parameters, whose gradients are added up
NOT_CUT = {"random_bits", "random_gamma", "rng_bit_generator", "threefry2x32", "scan"}  # steps that draw or scan


def chosen(definition: Definition, traced: ClosedJaxpr, rules: Rules, batch_size: int, platform: str) -> int:
    """The number of microbatches: a power of two that leaves each enough to do, and 1 elsewhere than on a CPU.

    Args:
        definition: what is computed.
        traced: a call of it, with the batch in one piece.
        rules: the mesh.
        batch_size: examples of a step, over all devices.
        platform: what it is computed on.
    """
    ways = rules.ways("batch")
    own = all(node.callee.target.startswith("bigtrain.") for node in (definition.model, definition.task))
    if platform != "cpu" or batch_size // ways % 2 or not own:
        return 1
    recipe, parts = definition.recipe()
    if recipe.statistics or not NOT_CUT.isdisjoint(primitives(traced.jaxpr)):
        return 1
    parameters = sum(leaf.size * leaf.dtype.itemsize for leaf in parts.params.values())
    most = min(held(traced.jaxpr) / LEAST, products_of(traced) / (REUSED * parameters)) / ways
    number = 1
    while batch_size // ways % (2 * number) == 0 and 2 * number <= most:
        number *= 2
    return number


def held(jaxpr: Jaxpr) -> int:
    """The most bytes that results of its equations take at one time, each until it is read for the last time.

    XLA makes less of them than are written down, but what a forward pass keeps it has to keep.
    """
    last = {id(variable): at for at, equation in enumerate(jaxpr.eqns) for variable in equation.invars}
    last |= {id(variable): len(jaxpr.eqns) for variable in jaxpr.outvars}
    made: set[int] = set()
    now = most = 0
    for at, equation in enumerate(jaxpr.eqns):
        results = {id(variable): _bytes(variable) for variable in equation.outvars if id(variable) in last}
        inside = max((held(inner) for inner in jaxprs_in(equation.params)), default=0)
        now += sum(results.values())
        most = max(most, now + inside)
        made |= results.keys()
        for variable in equation.invars:
            if not isinstance(variable, Literal) and id(variable) in made and last[id(variable)] == at:
                made.discard(id(variable))
                now -= _bytes(variable)
    return most


def _bytes(variable: Any) -> int:
    kind = variable.aval
    return int(kind.size * kind.dtype.itemsize) if hasattr(kind, "shape") else 0
