"""Rules from dimension names to mesh axes: the one place where a sharding is decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel.mesh import AXES

Dim = str | tuple[str, int] | None
"""A dimension's name; with a number where it consists of so many parts that stay whole (the heads of attention)."""

LARGEST = ("parameters", "optimizer")
"""Names that stand for the largest dimension that is free, of each parameter and of each array of the optimizer."""

SMALLEST = 1024  # numbers; what is smaller is cheaper to have everywhere than to fetch
STACK = "layers"  # the dimension that a scan runs over; each device takes part in every step


@dataclass(frozen=True)
class Rules:
    """A mesh and the table that splits named dimensions over its axes; a dimension without a rule is replicated."""

    mesh: Mesh
    table: Mapping[str, tuple[str, ...]]
    optional: frozenset[str] = frozenset()
    uneven: frozenset[str] = frozenset()
    replicated: float = 1.0  # the largest share of a large model's parameters that may be whole on each device

    @classmethod
    def of(cls, mesh: Mesh, cfg: MeshConfig) -> Rules:
        """The rules of a config; refuses one for an axis that no mesh has."""
        table: dict[str, tuple[str, ...]] = {}
        for dim, axes in cfg.rules.items():
            if axes is None:
                continue
            listed = axes if isinstance(axes, (list, tuple)) else [axes]
            for axis in listed:
                if axis not in AXES:
                    hint = did_you_mean(str(axis), AXES)
                    raise ConfigError(f"mesh.rules.{dim}", f"no mesh has an axis {axis!r}", allowed=AXES, hint=hint)
            if len(set(listed)) != len(listed):
                raise ConfigError(f"mesh.rules.{dim}", f"{list(listed)} names an axis twice")
            table[str(dim)] = tuple(listed)
        _check_listed(mesh, cfg, table)
        return cls(mesh, table, frozenset(cfg.optional), frozenset(cfg.uneven), cfg.replicated)

    def axes(self, dim: str | None) -> tuple[str, ...]:
        """The axes that a dimension is split over, without those of size 1."""
        return tuple(axis for axis in self.table.get(dim or "", ()) if self.mesh.shape.get(axis, 1) > 1)

    def ways(self, dim: str) -> int:
        """Over how many devices a dimension is split."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes(dim))

    def sharding(self, dims: Sequence[str | None] = ()) -> NamedSharding:
        """The sharding of an array whose dimensions have these names; none at all means replicated."""
        return self._named([self.axes(dim) for dim in dims])

    def of_activation(self, shape: Sequence[int], dims: Sequence[str | None]) -> NamedSharding:
        """The sharding of what is computed on the way; raises `ConfigError` where a dimension doesn't divide."""
        return self._named(self._split("an activation", shape, dims))

    def of_parameter(
        self, name: str, shape: Sequence[int], dims: Sequence[Dim], *, whole: bool = False
    ) -> NamedSharding:
        """The sharding of a parameter.

        Args:
            name: for errors.
            shape: its sizes.
            dims: the names of its dimensions.
            whole: as it is computed with: without what the rule for `parameters` adds.

        Raises:
            ConfigError: where a dimension doesn't divide.
        """
        split = self._split(name, shape, dims)
        return self._named(split if whole else self._largest(split, shape, dims, "parameters"))

    def of_optimizer(self, name: str, shape: Sequence[int], dims: Sequence[Dim]) -> NamedSharding:
        """The sharding of the optimizer's array beside a parameter: the parameter's, and what `optimizer` adds."""
        split = self._largest(self._split(name, shape, dims), shape, dims, "parameters")
        return self._named(self._largest(split, shape, dims, "optimizer"))

    def split_over(self, sharding: NamedSharding) -> tuple[str, ...]:
        """The axes that an array is split over."""
        return tuple(axis for entry in sharding.spec for axis in _axes(entry))

    def _split(self, name: str, shape: Sequence[int], dims: Sequence[Dim]) -> list[tuple[str, ...]]:
        """The axes of each dimension by the rules for its name; an axis splits only one of them, the first."""
        taken: set[str] = set()
        split: list[tuple[str, ...]] = []
        for size, dim in zip(shape, dims, strict=True):
            label, parts = dim if isinstance(dim, tuple) else (dim, size)
            axes = tuple(axis for axis in self.axes(label) if axis not in taken)
            ways = math.prod(self.mesh.shape[axis] for axis in axes)
            if parts % ways:
                if label not in self.uneven:
                    raise uneven(name, shape, str(label), parts, axes, ways)
                axes = ()
            taken |= set(axes)
            split.append(axes)
        return split

    def _largest(
        self, split: list[tuple[str, ...]], shape: Sequence[int], dims: Sequence[Dim], rule: str
    ) -> list[tuple[str, ...]]:
        """Also splits the largest dimension that is free and divides, or else one that is split already.

        A small array, or one without such a dimension, stays.
        """
        axes = tuple(axis for axis in self.axes(rule) if all(axis not in entry for entry in split))
        if not axes or math.prod(shape) < SMALLEST:
            return split
        fits = [
            at
            for at, entry in enumerate(split)
            if dims[at] != STACK and shape[at] % math.prod(self.mesh.shape[axis] for axis in (*entry, *axes)) == 0
        ]
        chosen = max(fits, key=lambda at: (not split[at], shape[at]), default=None)
        return [(*entry, *axes) if at == chosen else entry for at, entry in enumerate(split)]

    def _named(self, split: Iterable[tuple[str, ...]]) -> NamedSharding:
        spec = [entry[0] if len(entry) == 1 else (entry or None) for entry in split]
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def check_used(self, dims: Iterable[str], used: Iterable[str]) -> None:
        """Refuses a rule for a dimension that no array has, and an axis of several devices that splits nothing.

        Args:
            dims: the names of all dimensions of the run's arrays.
            used: the axes that something is split over.
        """
        there = sorted({*dims, "batch"} - {STACK})
        for dim in self.table:
            if dim not in there and dim not in LARGEST and dim not in self.optional:
                hint = did_you_mean(dim, there)
                raise ConfigError(f"mesh.rules.{dim}", "no array has such a dimension", allowed=there, hint=hint)
        for axis, size in self.mesh.shape.items():
            if size > 1 and axis not in {*used, *self.axes("batch")}:
                problem = f"nothing of this run is split over the {size} devices of {axis!r}"
                hint = f"split one of its dimensions: mesh.rules.DIM={axis} with DIM of {', '.join(there)}"
                raise ConfigError(f"mesh.{axis}", problem, hint=hint)


def _check_listed(mesh: Mesh, cfg: MeshConfig, table: Mapping[str, tuple[str, ...]]) -> None:
    """Refuses what would say nothing: a name without a rule, and an axis that the config gives one device."""
    for key in ("optional", "uneven"):
        for dim in getattr(cfg, key):
            if dim not in cfg.rules:
                hint = did_you_mean(dim, cfg.rules)
                raise ConfigError(f"mesh.{key}", f"there is no rule for {dim!r}", allowed=sorted(cfg.rules), hint=hint)
    if mesh.size == 1:
        return
    for axis in cfg.slow:
        if getattr(cfg, axis) == 1:
            raise ConfigError("mesh.slow", f"mesh.{axis} is 1: nothing crosses between nodes along it")
    for dim, axes in table.items():
        if dim != "batch" and dim not in cfg.optional and all(getattr(cfg, axis) == 1 for axis in axes):
            problem = f"the mesh has one device along {' x '.join(axes)}, so this splits nothing"
            raise ConfigError(f"mesh.rules.{dim}", problem, hint=f"give it some: mesh.{axes[0]}=-1")


def uneven(name: str, shape: Sequence[int], dim: str, parts: int, axes: Sequence[str], ways: int) -> ConfigError:
    """The error for a dimension that can't be cut evenly: where it is, and the nearest sizes that can be."""
    below, above = parts // ways * ways, (parts // ways + 1) * ways
    what = f"{name} [{', '.join(map(str, shape))}]"
    over = " x ".join(axes)
    nearest = f"{below} or {above}" if below else str(above)
    divisors = [number for number in range(2, parts + 1) if parts % number == 0]
    fits = f"; or {over} of {', '.join(map(str, divisors[:6]))}" if divisors else ""
    problem = f"{parts} {dim} of {what} do not divide over the {ways} devices of {over}"
    hint = f"to leave them whole: mesh.rules.{dim}=null"
    return ConfigError(f"mesh.rules.{dim}", problem, allowed=f"{nearest} {dim}{fits}", hint=hint)


def _axes(entry: Any) -> tuple[str, ...]:
    """One dimension's entry of a PartitionSpec as a tuple."""
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, str) else tuple(entry)
