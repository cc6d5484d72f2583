"""What a compiled program sends between devices: by kind, mesh axis and bytes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bigtrain.plan import hlo

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_LISTED = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((?:\[([\d,]+)\](?:T\(([\d,]+)\))?|([\d,]+))\))? \{([^}]*)\}"
)
_MESH_AXIS = re.compile(r"'(\w+)'(?:=(\d+))?(?::\((\d+)\)(\d+))?")
_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Collective:
    """What one optimizer step sends in one way.

    Args:
        kind: of `KINDS`.
        axis: the mesh axes that it goes over, joined by x.
        members: devices of a group.
        count: how many there are in a step.
        bytes: in a step, of the arrays that a device ends up with (all-reduce, all-gather, …) or starts with
            (reduce-scatter).
        groups: positions of the devices in the mesh.
    """

    kind: str
    axis: str
    members: int
    count: float
    bytes: float
    groups: Groups


def collectives(text: str, shape: Mapping[str, int]) -> list[Collective]:
    """The collectives of one step, the largest first.

    Args:
        text: the compiled program.
        shape: the mesh: axis -> size, in its order.
    """
    found: dict[tuple[str, Groups], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for instruction, times, computation in hlo.parse(text).runs():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        groups = groups_of(instruction.rest, int(np.prod(list(shape.values()))))
        if max((len(group) for group in groups), default=1) < 2:
            continue
        size = _payload(kind, instruction, len(groups[0]))
        if kind == "all-reduce" and computation.startswith("all-reduce-scatter"):  # a TPU's fusion of it and a slice
            kind = "reduce-scatter"
        sums = found[kind, groups]
        sums[0] += times
        sums[1] += times * size
    listed = [
        Collective(kind, axis_of(groups, shape), len(groups[0]), count, size, groups)
        for (kind, groups), (count, size) in found.items()
    ]
    return sorted(listed, key=lambda entry: -entry.bytes)


def _payload(kind: str, instruction: hlo.Instruction, members: int) -> int:
    """Bytes of the whole array; an asynchronous start has its operands before its results."""
    sizes = hlo.arrays(instruction.type)
    if instruction.opcode.endswith("-start"):
        if kind == "collective-permute":
            return sizes[1] if len(sizes) > 1 else sizes[0]
        if kind == "reduce-scatter":
            return sum(sizes[: len(sizes) // 2])
        if kind in ("all-gather", "all-to-all"):
            sizes = sizes[len(sizes) // 2 :]
    return sum(sizes) * (members if kind == "reduce-scatter" else 1)


def groups_of(text: str, devices: int) -> Groups:
    """The groups of devices in an instruction's attributes: lists, [2,4]<=[8]T(…), or axes of a mesh of its own."""
    pairs = _PAIRS.search(text)
    if pairs:
        found = re.findall(r"\{(\d+),(\d+)\}", pairs[1])
        return tuple((int(source), int(target)) for source, target in found if source != target)
    iota = _IOTA.search(text)
    if iota:
        shape, dims = ([int(size) for size in iota[at].split(",")] for at in (1, 2))
        ids = np.arange(np.prod(dims)).reshape(dims)
        if iota[3]:
            ids = ids.transpose([int(dim) for dim in iota[3].split(",")])
        return tuple(tuple(map(int, row)) for row in ids.reshape(shape[0], -1))
    mesh = _MESH.search(text)
    if mesh:
        return _of_mesh(mesh)
    listed = _LISTED.search(text)
    rows = re.findall(r"\{([\d,]+)\}", listed[1]) if listed else []
    groups = tuple(tuple(int(device) for device in row.split(",")) for row in rows)
    return groups or (tuple(range(devices)),)


def _of_mesh(found: re.Match[str]) -> Groups:
    """The groups of mesh['a'=4,'b'=2] {'a'}; 'a':(2)2 is a part of an axis: 2 before it, of size 2."""
    sizes = {name: int(size) for name, size, *_ in _MESH_AXIS.findall(found[1])}
    ids = np.arange(np.prod(list(sizes.values())))
    if found[2]:
        ids = ids.reshape([int(size) for size in found[2].split(",")])
        ids = ids.transpose([int(dim) for dim in found[3].split(",")]) if found[3] else ids
    elif found[4]:
        ids = np.array([int(device) for device in found[4].split(",")])
    chosen = {
        name: (int(before or 1), int(size or sizes[name])) for name, _, before, size in _MESH_AXIS.findall(found[5])
    }
    shape, grouped = [], []
    for name, whole in sizes.items():
        before, size = chosen.get(name, (whole, 1))
        grouped.append(len(shape) + 1)
        shape += [before, size, whole // (before * size)]
    rest = [dim for dim in range(len(shape)) if dim not in grouped]
    rows = ids.reshape(shape).transpose([*rest, *grouped]).reshape(-1, int(np.prod([shape[dim] for dim in grouped])))
    return tuple(tuple(map(int, row)) for row in rows)


def axis_of(groups: Groups, shape: Mapping[str, int]) -> str:
    """The mesh axes along which the devices of a group differ."""
    sizes = list(shape.values())
    differing: set[int] = set()
    for group in groups:
        places = np.array(np.unravel_index(np.array(group), sizes))
        differing |= {dim for dim in range(len(sizes)) if len(set(places[dim].tolist())) > 1}
    return " x ".join(axis for dim, axis in enumerate(shape) if dim in differing) or "none"


def inside(groups: Groups, granules: Sequence[int]) -> tuple[bool, int]:
    """Whether every group stays within one node or slice, and how many members of a group share one at least.

    Args:
        groups: positions in the mesh.
        granules: the node or slice of each device, by its position.
    """
    least = len(groups[0])
    whole = True
    for group in groups:
        there = [granules[device] for device in group]
        whole &= len(set(there)) == 1
        least = min(least, *(there.count(granule) for granule in set(there)))
    return whole, least
