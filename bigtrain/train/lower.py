"""From a definition and a mesh to a program that only has to be compiled: shapes and shardings are decided here.

`fit` compiles it for the devices at hand; `plan` for hardware that need not be there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from bigtrain.data.placement import Feed
from bigtrain.models.split import Recipe
from bigtrain.parallel.naming import placed_by
from bigtrain.parallel.peak import cores
from bigtrain.parallel.rules import Rules
from bigtrain.train import finite, microbatches, steps
from bigtrain.train.determinism import asking_cudnn, compiler_options
from bigtrain.train.flops import count, flops_of, products_of
from bigtrain.train.loops import reads_what_it_writes
from bigtrain.train.narrow import mostly_narrow
from bigtrain.train.program import Definition, Numbers, Program, abstract_numbers, lower_evaluation
from bigtrain.train.sharding import check_used, sharded
from bigtrain.train.state import TrainState
from bigtrain.train.step import Metrics

UNFILLED = "xla_gpu_enable_dus_accumulator_zero_init_elimination"
YNNPACK, NOTHING = "xla_cpu_experimental_ynn_fusion_type", ""


def loop_options(platform: str, traced: ClosedJaxpr) -> dict[str, bool | str]:
    """What XLA can do for a program and doesn't by default.

    On a GPU, what stacked layers keep for the backward pass is not filled with zeros before all of it is written
    anyway: 6% of a step of a language model of 125 million parameters on an H100, with the same bits
    (openxla/xla#42808). XLA would also leave out the zeros of an array that a loop writes to and reads in the same
    round, where they count. On a CPU, see `narrow`. What XLA_FLAGS says of either counts more.
    """
    if platform == "gpu" and _free(UNFILLED, True) and not reads_what_it_writes(traced.jaxpr):
        return {UNFILLED: True}
    if platform == "cpu" and mostly_narrow(traced) and _free(YNNPACK, NOTHING):
        return {YNNPACK: NOTHING}
    return {}


def _free(option: str, value: bool | str) -> bool:
    """Whether an option can be set: it is known, and the user says nothing of it."""
    return option not in os.environ.get("XLA_FLAGS", "") and has_option(option, value)


@cache
def has_option(option: str, value: bool | int | str) -> bool:
    """Whether this version of XLA has an option, and the value."""
    try:
        jax.jit(lambda: 0).lower().compile({option: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True


@dataclass(frozen=True)
class Lowered:
    """A program before XLA sees it. `parts` are its lowered functions: advance, init, evaluate."""

    definition: Definition
    recipe: Recipe
    rules: Rules
    state: TrainState
    capacity: int
    parts: Mapping[str, Any]
    traced: Any  # the jaxpr of advance
    shapes: tuple[Any, ...]  # what advance takes

    @cached_property
    def options(self) -> Mapping[str, dict[str, bool | str]]:
        """What XLA is told when it compiles each part."""
        platform = self.rules.mesh.devices.flat[0].platform
        asked = compiler_options(platform, self.definition.deterministic, self.traced)
        more = {"advance": loop_options(platform, self.traced)}
        return {name: {**asked, **more.get(name, {})} for name in self.parts}

    def compiled(self) -> Program:
        """The program for the devices of its mesh; what looks at its states is compiled beside it."""
        # XLA compiles without holding the interpreter; more at once would take as long, and 50 to 100 MB each
        options = self.options
        with ThreadPoolExecutor(cores()) as pool:
            found = pool.map(lambda name: self.parts[name].compile(options[name]), self.parts)
            pool.submit(finite.compile_for, self.state)
            executables = dict(zip(self.parts, found, strict=True))
        flops = self.flops()
        made = (self.definition, self.recipe, self.rules, self.state, self.capacity)
        return Program(*made, executables, flops, options["advance"])

    def flops(self, *, products: bool = False) -> float:
        """Operations of a step; without those that `remat` and `task.chunk` repeat, as MFU is defined.

        Where parameters are split (FSDP), what is between their gathering and their use is done again in the backward
        pass and counts: a hundredth.

        Args:
            products: count matrix products and convolutions alone.
        """
        kept = self.definition
        for part, argument, plain in (("model", "remat", "none"), ("task", "chunk", None)):
            node = getattr(kept, part)
            if node.arguments.get(argument, plain) != plain:
                kept = dataclasses.replace(
                    kept, **{part: dataclasses.replace(node, arguments={**node.arguments, argument: plain})}
                )
        if kept is self.definition:  # nothing is repeated
            return products_of(self.traced) / self._steps if products else self.flops_repeated()
        recipe = kept.recipe()[0]
        with placed_by(self.rules):
            found = count(lambda *given: kept.advance(recipe, self.capacity, *given), *self.shapes, products=products)
        return found / self._steps

    def flops_repeated(self) -> float:
        """Operations that a step does, what `remat` repeats among them; the body of the loop over steps counts once."""
        return flops_of(self.traced) / self._steps

    @property
    def _steps(self) -> int:
        """How often a step is in the traced program, where the loop over steps of unknown length counts as one."""
        with placed_by(self.rules):
            return steps.bodies(steps.block(self.definition.spec, *self.shapes[:2]))


def lower_program(
    definition: Definition,
    rules: Rules,
    values: Mapping[str, float],
    train: tuple[Feed, int],
    evaluation: tuple[Feed, jax.ShapeDtypeStruct],
    cut: tuple[int, str] | None = None,
) -> Lowered:
    """Lowers the program from shapes; no array of the model exists yet.

    Args:
        definition: what to compute.
        rules: mesh and shardings.
        values: the numbers, for their names.
        train: the abstract training feed and its capacity in steps.
        evaluation: the abstract evaluation feed and weights.
        cut: the batch size and the platform for which the number of microbatches is to be chosen; None keeps it.
    """
    recipe, _ = definition.recipe()
    replicated = rules.sharding()
    numbers = abstract_numbers(values, rules)
    number = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated)
    init = jax.jit(definition.init, inline=True)  # traced once, for its shapes and for its program
    state = sharded(jax.eval_shape(init, numbers), recipe, rules)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    feed, capacity = train

    def trace(definition: Definition) -> Any:
        def advance(state: TrainState, feed: Feed, number: jax.Array, numbers: Numbers) -> tuple[TrainState, Metrics]:
            return definition.advance(recipe, capacity, state, feed, number, numbers)

        outs = (shardings, replicated)
        return jax.jit(advance, donate_argnums=0, out_shardings=outs).trace(state, feed, number, numbers)

    with placed_by(rules) as named, asking_cudnn(definition.deterministic):
        definition, traced = _cut(definition, trace, rules, cut)
        check_used(rules, recipe, state, named)
        parts = {
            "advance": traced.lower(),
            "init": jax.jit(init, out_shardings=shardings).lower(numbers),
            "evaluate": lower_evaluation(definition, recipe, rules, state, values, evaluation),
        }
    return Lowered(definition, recipe, rules, state, capacity, parts, traced.jaxpr, (state, feed, number, numbers))


def _cut(
    definition: Definition, trace: Callable[[Definition], Any], rules: Rules, cut: tuple[int, str] | None
) -> tuple[Definition, Any]:
    """The definition with its number of microbatches, and its trace; with the batch in one piece first, to choose."""
    traced = trace(definition)
    pieces = definition.accumulate if cut is None else microbatches.chosen(definition, traced.jaxpr, rules, *cut)
    if pieces == definition.accumulate:
        return definition, traced
    definition = dataclasses.replace(definition, accumulate=pieces)
    return definition, trace(definition)
