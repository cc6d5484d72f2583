"""Rules from dimension names to mesh axes: the one place where a sharding is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bigtrain.config.errors import ConfigError, did_you_mean

DIMS = ("batch",)
"""Dimension names that arrays are annotated with."""


@dataclass(frozen=True)
class Rules:
    """A mesh and the table that splits named dimensions over its axes; a dimension without a rule is replicated."""

    mesh: Mesh
    table: Mapping[str, str]

    @classmethod
    def checked(cls, mesh: Mesh, table: Mapping[str, object]) -> Rules:
        """Refuses a rule for a dimension that no array has, or for an axis that the mesh lacks."""
        for dim, axis in table.items():
            if dim not in DIMS:
                hint = did_you_mean(dim, DIMS)
                raise ConfigError(f"mesh.rules.{dim}", "no array has such a dimension", allowed=DIMS, hint=hint)
            if axis not in mesh.axis_names:
                raise ConfigError(f"mesh.rules.{dim}", f"the mesh has no axis {axis!r}", allowed=mesh.axis_names)
        return cls(mesh, {dim: str(axis) for dim, axis in table.items()})

    def sharding(self, dims: Sequence[str | None] = ()) -> NamedSharding:
        """The sharding of an array whose dimensions have these names; none at all means replicated."""
        return NamedSharding(self.mesh, PartitionSpec(*(self.table.get(dim) if dim else None for dim in dims)))

    def ways(self, dim: str) -> int:
        """Over how many devices a dimension is split."""
        axis = self.table.get(dim)
        return self.mesh.shape[axis] if axis else 1
