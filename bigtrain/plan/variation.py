"""Variants of a run that change how it is computed, or how much at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bigtrain.config.schema import MeshConfig

REMAT = ("none", "dots", "full")
MOST_TENSOR = 16  # beyond, a layer's pieces are too small for what they send


@dataclass(frozen=True)
class Variation:
    """One variant: the overrides that make it, and the numbers that its memory and time are estimated from.

    Args:
        mesh: the mesh.
        batch: examples a step.
        accumulate: microbatches.
        remat: what is computed again; None where the model has no such field.
        precision: f32 or bf16.
        changes: overrides.
    """

    mesh: MeshConfig
    batch: int
    accumulate: int
    remat: str | None
    precision: str
    changes: tuple[str, ...] = ()

    def with_batch(self, batch: int) -> Variation:
        """Another batch size."""
        return self._changed(f"batch_size={batch}", batch=batch) if batch != self.batch else self

    def with_accumulate(self, number: int) -> Variation:
        """Another number of microbatches."""
        return self._changed(f"accumulate={number}", accumulate=number) if number != self.accumulate else self

    def with_remat(self, remat: str) -> Variation:
        """Another choice of what is computed again."""
        return self._changed(f"model.remat={remat}", remat=remat) if remat != self.remat else self

    def with_precision(self, precision: str) -> Variation:
        """Another type to compute in."""
        same = precision == self.precision
        return self if same else self._changed(f"precision={precision}", precision=precision)

    def with_mesh(self, mesh: MeshConfig, changes: tuple[str, ...]) -> Variation:
        """Another mesh."""
        return replace(self, mesh=mesh, changes=(*changes, *self.changes))

    def _changed(self, override: str, **fields: object) -> Variation:
        return replace(self, changes=(*self.changes, override), **fields)  # type: ignore[arg-type]


def meshes(devices: int) -> Iterator[tuple[str, ...]]:
    """The overrides of every mesh of data, fsdp and tensor axes over so many devices."""
    for tensor in (size for size in _divisors(devices) if size <= MOST_TENSOR):
        for fsdp in _divisors(devices // tensor):
            data = devices // tensor // fsdp
            if tensor > 1 and fsdp > 1:
                yield "mesh=fsdp_tensor", f"mesh.data={data}", f"mesh.fsdp={fsdp}", f"mesh.tensor={tensor}"
            elif tensor > 1:
                yield "mesh=tensor", f"mesh.data={data}", f"mesh.tensor={tensor}"
            elif fsdp > 1:
                yield "mesh=fsdp", f"mesh.data={data}", f"mesh.fsdp={fsdp}"
            else:
                yield ("mesh=data", f"mesh.data={data}") if data > 1 else ("mesh=single",)


def batches(batch: int) -> list[int]:
    """A quarter to four times the batch, by powers of two."""
    return sorted({max(1, int(batch * factor)) for factor in (0.25, 0.5, 1, 2, 4)})


def _divisors(number: int) -> list[int]:
    low = [size for size in range(1, math.isqrt(number) + 1) if number % size == 0]
    return sorted({*low, *(number // size for size in low)})
