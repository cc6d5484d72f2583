"""How the training state is split over the devices of a mesh, and whether the mesh is made use of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax

from bigtrain.config.errors import ConfigError
from bigtrain.models.split import Recipe
from bigtrain.parallel.naming import placing_rules
from bigtrain.parallel.rules import LARGEST, SMALLEST, Rules
from bigtrain.train.state import TrainState

LARGE = 100_000_000  # bytes of parameters from which on `mesh.replicated` counts


def sharded(state: TrainState, recipe: Recipe, rules: Rules) -> TrainState:
    """The state as shapes with shardings; works on arrays as on shapes.

    The optimizer's arrays and the moving average follow the parameter whose name their path ends with, where they have
    its shape; what has another (Adafactor's rows and columns, counters), and statistics, are whole on each device.

    Raises:
        ConfigError: where a dimension doesn't divide over the devices.
    """
    shapes = {name: leaf.shape for name, leaf in state.params.items()}
    for name in sorted(shapes, key=lambda name: -math.prod(shapes[name])):  # an error is about the largest
        rules.of_parameter(name, shapes[name], recipe.dims[name])

    def placed(path: tuple[Any, ...], leaf: Any) -> jax.ShapeDtypeStruct:
        part, name = path[0].name, getattr(path[-1], "key", None)
        sharding = rules.sharding()
        if part == "params":
            sharding = rules.of_parameter(name, leaf.shape, recipe.dims[name])
        elif part in ("opt_state", "ema") and shapes.get(name) == leaf.shape:
            sharding = rules.of_optimizer(name, leaf.shape, recipe.dims[name])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    found: TrainState = jax.tree.map_with_path(placed, state)
    return found


def staying(state: TrainState, recipe: Recipe) -> TrainState:
    """The state, inside a program for a mesh, split as it was before.

    In a loop over steps XLA would choose: with a split optimizer (ZeRO-1) it would split the parameters as well, and
    put them together wherever they are used.
    """
    rules = placing_rules()
    if rules is None:
        return state
    places = jax.tree.map(lambda leaf: leaf.sharding, sharded(state, recipe, rules))
    kept: TrainState = jax.lax.with_sharding_constraint(state, places)
    return kept


def bytes_on_a_device(tree: Any) -> int:
    """What abstract arrays with shardings take on each device."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@dataclass(frozen=True)
class Share:
    """How many bytes of the parameters are split over fsdp or tensor axes, and the largest that is not."""

    split: int
    total: int
    largest: str

    @property
    def whole(self) -> float:
        """The share of the parameters that is whole on each of these devices."""
        return 1 - self.split / max(self.total, 1)


def share(state: TrainState, rules: Rules) -> Share:
    """Counted from the shardings of the parameters."""
    sizes = {name: math.prod(leaf.shape) * leaf.dtype.itemsize for name, leaf in state.params.items()}
    split = {name for name, leaf in state.params.items() if rules.split_over(leaf.sharding)}
    left = sorted((name for name in sizes if name not in split), key=lambda name: -sizes[name])
    return Share(sum(sizes[name] for name in split), sum(sizes.values()), left[0] if left else "")


def check_used(rules: Rules, recipe: Recipe, state: TrainState, named: Iterable[str]) -> None:
    """Refuses rules and axes that split nothing, and a large model that is left whole on devices meant to share it.

    Args:
        rules: the mesh and its rules.
        recipe: the names of the parameters' dimensions.
        state: the state with its shardings.
        named: the names of the activations' dimensions.
    """
    dims = {dim[0] if isinstance(dim, tuple) else dim for names in recipe.dims.values() for dim in names}
    present = {dim for dim in dims if dim} | set(named)
    used = {axis for leaf in jax.tree.leaves(state) for axis in rules.split_over(leaf.sharding)}
    _check_largest(rules, state)
    rules.check_used(present, used | {axis for dim in named for axis in rules.axes(dim)})
    axes = [axis for axis in ("fsdp", "tensor") if rules.mesh.shape.get(axis, 1) > 1]
    found = share(state, rules)
    if axes and found.total >= LARGE and found.whole > rules.replicated:
        name = found.largest
        shape = ", ".join(map(str, state.params[name].shape))
        problem = (
            f"{found.whole:.1%} of the {found.total / 1e9:.2f} GB of parameters would be whole on each device of "
            f"{' x '.join(axes)}, the largest of them {name} [{shape}]"
        )
        hint = f"split it: mesh.rules.{LARGEST[0]}={axes[0]}; or allow it: mesh.replicated=1"
        raise ConfigError("mesh.replicated", problem, allowed=f"at most {rules.replicated:.1%}", hint=hint)


def _check_largest(rules: Rules, state: TrainState) -> None:
    """Refuses a rule for all parameters, or for the optimizer's arrays, by which none of them is split."""
    for dim, tree in zip(LARGEST, (state.params, (state.opt_state, state.ema)), strict=True):
        axes = set(rules.axes(dim))
        if axes and not any(axes & set(rules.split_over(leaf.sharding)) for leaf in jax.tree.leaves(tree)):
            problem = f"none of these arrays has {SMALLEST:,} numbers and a size that divides over {' x '.join(axes)}"
            raise ConfigError(f"mesh.rules.{dim}", problem, hint=f"leave it out: mesh.rules.{dim}=null")
