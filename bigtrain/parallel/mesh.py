"""The mesh: a table of axis sizes over the devices at hand, or over devices that a plan is made for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel import distributed
from bigtrain.parallel.devices import all_devices, check_settings

AXES = ("data", "fsdp", "sequence", "tensor")
"""From the axis that communicates least to the one that communicates most: neighbours in the mesh are near."""


def simulate(cfg: MeshConfig) -> None:
    """Makes the CPU look like `mesh.simulate` devices; has to run before JAX first asks for devices."""
    if cfg.simulate is None:
        return
    with contextlib.suppress(RuntimeError):  # devices exist already: fine if they are as many as asked for
        jax.config.update("jax_num_cpu_devices", cfg.simulate)
    jax.config.update("jax_platforms", "cpu")
    if (number := len(jax.local_devices(backend="cpu"))) != cfg.simulate:
        problem = f"{cfg.simulate} simulated devices were asked for, but JAX runs with {number}"
        raise ConfigError("mesh.simulate", problem, hint="start a fresh process")
    jax.config.update("jax_default_device", None)


def make(cfg: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh that the config asks for; axes of size 1 are left out, but for `data`.

    Args:
        cfg: the sizes.
        devices: what it is made of; by default all that JAX sees.

    Raises:
        ConfigError: when there are too few devices, or some that no axis takes; when JAX is set as no run can be.
    """
    check_settings()
    found = list(all_devices() if devices is None else devices)
    processes = {device.process_index for device in found}
    shape = sizes(cfg, len(found), found[0].platform, several=len(processes) > 1)
    kept = {axis: size for axis, size in shape.items() if size > 1 or axis == "data"}
    used = found[: math.prod(kept.values())]
    if devices is None and (left := processes - {device.process_index for device in used}):
        problem = f"{len(used)} of {len(found)} devices leave nothing to do for process {min(left)}"
        hint = "let an axis take the rest: mesh.data=-1"
        raise ConfigError(f"mesh.{max(AXES, key=lambda axis: shape[axis])}", problem, hint=hint)
    grid = arranged(used, kept, cfg.slow)
    return Mesh(grid, tuple(kept), axis_types=(AxisType.Auto,) * len(kept))


def sizes(cfg: MeshConfig, number: int, platform: str, *, several: bool = False) -> dict[str, int]:
    """The size of each axis over `number` devices, of several processes or one."""
    wanted = {axis: getattr(cfg, axis) for axis in AXES}
    if wanted["data"] == "auto":
        others = any(wanted[axis] != 1 for axis in AXES[1:])
        wanted["data"] = 1 if others or (platform == "cpu" and cfg.simulate is None and not several) else -1
    rest = [axis for axis, size in wanted.items() if size == -1]
    if len(rest) > 1:
        raise ConfigError(f"mesh.{rest[1]}", f"-1 is what is left, and mesh.{rest[0]} takes that", allowed="a number")
    fixed = math.prod(size for size in wanted.values() if size != -1)
    if rest:
        if number % fixed:
            near = [size for size in range(1, number + 1) if number % size == 0]
            others = " x ".join(f"{axis} {size}" for axis, size in wanted.items() if size not in (1, -1))
            problem = f"the {number} devices are not divisible by {others}, so nothing whole is left for {rest[0]}"
            raise ConfigError(f"mesh.{rest[0]}", problem, allowed=f"axes whose product is one of {near}")
        return {**wanted, rest[0]: number // fixed}
    if fixed > number:
        hint = f"to try it on a CPU, simulate them: mesh.simulate={fixed}" if platform == "cpu" else None
        largest = max(AXES, key=lambda axis: wanted[axis])
        raise ConfigError(f"mesh.{largest}", f"{fixed} devices are asked for, {number} found", hint=hint)
    return wanted


def arranged(devices: Sequence[Any], shape: dict[str, int], slow: Sequence[str]) -> np.ndarray:
    """The devices as an array of this shape, near ones next to each other along the fast axes.

    Devices that know where they are (TPUs by their coordinates, GPUs by their host) are put in order by JAX. Elsewhere
    the order is JAX's own, with the slow axes outermost.
    """
    crossing = [axis for axis in shape if axis in slow]
    together = _together(devices)
    if devices[0].platform == "cpu" or (len(together) == 1 and not hasattr(devices[0], "coords")):
        order = sorted(shape, key=lambda axis: axis not in slow)  # stable: slow ones first
        grid = np.array(devices).reshape([shape[axis] for axis in order])
        return grid.transpose([order.index(axis) for axis in shape])
    if len(together) > 1 and crossing:
        return _hybrid(together, shape, crossing)
    return mesh_utils.create_device_mesh(tuple(shape.values()), devices, allow_split_physical_axes=True)


def _hybrid(together: Sequence[Sequence[Any]], shape: dict[str, int], crossing: Sequence[str]) -> np.ndarray:
    """The slow axes over slices or nodes, and the others within each.

    As `mesh_utils.create_hybrid_device_mesh`, which takes each process for a node where there are no slices.
    """
    across, number = math.prod(shape[axis] for axis in crossing), len(together)
    if across != number:
        problem = f"{' x '.join(crossing)} = {across}, and there are {number} nodes or slices"
        raise ConfigError("mesh.slow", problem, allowed=f"axes whose product is {number}")
    if len(numbers := {len(devices) for devices in together}) > 1:
        problem = f"the {number} nodes or slices have {' or '.join(map(str, sorted(numbers)))} devices"
        raise ConfigError("mesh.slow", f"{problem}, and all need as many")
    within = tuple(1 if axis in crossing else size for axis, size in shape.items())
    between = [size if axis in crossing else 1 for axis, size in shape.items()]
    blocks = np.empty(number, dtype=object)
    for place, devices in enumerate(together):
        blocks[place] = mesh_utils.create_device_mesh(within, devices, allow_split_physical_axes=True)
    return np.block(blocks.reshape(between).tolist())


def granules(devices: Sequence[Any]) -> list[int]:
    """The slice of a TPU system, or the host, that each device belongs to."""
    slices = [getattr(device, "slice_index", None) for device in devices]
    return hosts(devices) if None in slices else slices


def hosts(devices: Sequence[Any]) -> list[int]:
    """The host of each device, by its first process; where nobody says which share one, each process has its own."""
    known = dict(enumerate(distributed.current().hosts()))
    return [known.get(device.process_index, device.process_index) for device in devices]


def _together(devices: Sequence[Any]) -> list[list[Any]]:
    """The devices by the slice or host that they belong to."""
    found: dict[int, list[Any]] = {}
    for device, place in zip(devices, granules(devices), strict=True):
        found.setdefault(place, []).append(device)
    return [found[place] for place in sorted(found)]
