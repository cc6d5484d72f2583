"""Names for the dimensions of activations and parameters, which the rules of a mesh turn into shardings.

A model says what its dimensions are called and knows no mesh. While a program for a mesh is traced, `placed_by` makes
the names count; elsewhere they do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import jax
from jax.sharding import NamedSharding

from bigtrain.parallel.rules import Dim, Rules

Tree = TypeVar("Tree")
TABLES = ("vocabulary", "categories", "positions")
"""The first dimension of parameters that rows are looked up in."""


@dataclass
class _Placing:
    rules: Rules
    seen: set[str] = field(default_factory=set)  # names that activations had

    @property
    def matters(self) -> bool:
        return self.rules.mesh.size > 1


_PLACING: ContextVar[_Placing | None] = ContextVar("bigtrain_placing", default=None)


@contextmanager
def placed_by(rules: Rules) -> Iterator[set[str]]:
    """What is traced in the block is sharded by these rules; gives the names of activations as they come."""
    placing = _Placing(rules)
    token = _PLACING.set(placing)
    try:
        yield placing.seen
    finally:
        _PLACING.reset(token)


def placing_rules() -> Rules | None:
    """The rules that what is being traced is sharded by; None elsewhere, and on a mesh of one device."""
    placing = _PLACING.get()
    return placing.rules if placing is not None and placing.matters else None


def named(values: jax.Array, *dims: str | None) -> jax.Array:
    """The same values; inside a program for a mesh, split as the rules say for dimensions of these names.

    Raises:
        ConfigError: where a dimension doesn't divide over the devices.
    """
    placing = _PLACING.get()
    if placing is None:
        return values
    placing.seen |= {dim for dim in dims if dim}
    if not placing.matters:
        return values
    return jax.lax.with_sharding_constraint(values, placing.rules.of_activation(values.shape, dims))


def batched(tree: Tree) -> Tree:
    """The same arrays [B, …]; inside a program for a mesh, split over the batch alone.

    In the body of a scan it is what keeps XLA from splitting units or gates by what it finds outside of the scan, and
    from changing between the two in each step: what is said of an array before the scan doesn't count inside.
    """
    found: Tree = jax.tree.map(lambda part: named(part, "batch", *[None] * (part.ndim - 1)), tree)
    return found


def whole(tree: Tree) -> Tree:
    """The same arrays; inside a program for a mesh, all of each on every device."""
    found: Tree = jax.tree.map(lambda part: named(part, *[None] * part.ndim), tree)
    return found


def ways(dim: str) -> int:
    """Over how many devices the program that is being traced splits a dimension."""
    placing = _PLACING.get()
    return 1 if placing is None else placing.rules.ways(dim)


def target() -> jax.Device:
    """One of the devices that the program being traced is for; elsewhere, one of those at hand."""
    placing = _PLACING.get()
    found: jax.Device = jax.devices()[0] if placing is None else placing.rules.mesh.devices.flat[0]
    return found


def gathered(name: str, value: jax.Array, dims: Sequence[Dim]) -> jax.Array:
    """A parameter as it is computed with: what is split only to save memory (FSDP, ZeRO-3) is put together.

    The gradient goes the other way: it is summed over the devices and split in one, a reduce-scatter.
    """
    placing = _PLACING.get()
    if placing is None or not placing.matters:
        return value
    split = placing.rules.of_parameter(name, value.shape, dims)
    whole = placing.rules.of_parameter(name, value.shape, dims, whole=True)
    # the gradient of a lookup is a scatter, which XLA can't cut into columns without fetching every device's tokens
    table = bool(dims) and dims[0] in TABLES
    result: jax.Array = (
        value if split == whole and not table else _gather(whole, whole if table else split, split, value)
    )
    return result


def not_keeping_gathered(run: Callable[..., Any], *, in_loop: bool) -> Callable[..., Any]:
    """The function, whose backward pass gathers parameters again: kept, all of them would be in memory at once.

    Args:
        run: what uses parameters that `gathered` gave.
        in_loop: whether it is the body of a scan, where nothing else keeps XLA from computing things twice.
    """
    placing = _PLACING.get()
    if placing is None or placing.rules.ways("parameters") == 1:
        return run
    return jax.checkpoint(run, policy=_moved_nothing, prevent_cse=not in_loop)


def _moved_nothing(primitive: Any, *_: Any, **__: Any) -> bool:
    """What a backward pass may keep: everything but what was only moved between devices, such as parameters."""
    return bool(primitive.name != "sharding_constraint")


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _gather(whole: NamedSharding, summed: NamedSharding, split: NamedSharding, value: jax.Array) -> jax.Array:
    return jax.lax.with_sharding_constraint(value, whole)


def _gather_forward(
    whole: NamedSharding, summed: NamedSharding, split: NamedSharding, value: jax.Array
) -> tuple[jax.Array, None]:
    return jax.lax.with_sharding_constraint(value, whole), None  # not `_gather`, which `_moved_nothing` can't look into


def _gather_backward(
    whole: NamedSharding, summed: NamedSharding, split: NamedSharding, _: None, grads: jax.Array
) -> tuple[jax.Array]:
    return (jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(grads, summed), split),)


_gather.defvjp(_gather_forward, _gather_backward)
