"""The devices of hardware that need not be there, as JAX's compiler knows them. Meant for a process of its own."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigtrain.plan.gpu_target import target
from bigtrain.plan.hardware import Hardware

WHEELS = {"tpu": ("libtpu", "plan-tpu"), "gpu": ("jax_plugins.xla_cuda13", "plan-gpu")}
"""The module that compiles for a platform, and the extra that installs it."""


CUDNN = 91_000  # what a plan counts on, as `target` describes it


@dataclass(frozen=True)
class Target:
    """What a plan is made for: the devices, and whether they are stand-ins for the hardware that was asked for."""

    hardware: Hardware
    devices: Sequence[Any]
    approximate: str | None = None  # why memory is approximate, if it is
    capacity: tuple[int, str] | None = None  # bytes of a device as it says itself, and what they are

    @property
    def exact(self) -> bool:
        """Whether the hardware's own compiler makes the program."""
        return self.approximate is None


def environment(hardware: Hardware) -> dict[str, str]:
    """What the environment of the planning process needs beside its parent's, before JAX is imported there."""
    found = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if hardware.chip.platform == "tpu":
        # no look for a TPU of this machine; and several plans at a time, since none of them uses one
        found |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    return found


def installed(platform: str) -> bool:
    """Whether the compiler of a platform is there; it isn't loaded."""
    if platform not in WHEELS:
        return True
    try:
        return importlib.util.find_spec(WHEELS[platform][0]) is not None
    except ModuleNotFoundError:  # of the package that would hold it
        return False


def devices_of(hardware: Hardware) -> Target:
    """The devices to compile for: the hardware's own, or as many that are simulated on the CPU."""
    platform = hardware.chip.platform
    if platform == "cpu":
        return Target(hardware, _simulated(hardware.count))
    wheel, extra = WHEELS[platform]
    if not installed(platform):
        why = f"{wheel} is not installed, so {hardware.count} simulated devices stand in: memory is approximate"
        return Target(hardware, _simulated(hardware.count), f"{why} (pip install 'bigtrain[{extra}]')")
    return Target(hardware, (_tpus if platform == "tpu" else _gpus)(hardware))


def _simulated(number: int) -> Sequence[Any]:
    import jax

    jax.config.update("jax_num_cpu_devices", number)
    found: Sequence[Any] = jax.devices("cpu")[:number]
    return found


def _tpus(hardware: Hardware) -> Sequence[Any]:
    from jax.experimental import topologies

    slices: Mapping[str, Any] = {"num_slices": hardware.granules} if hardware.granules > 1 else {}
    found = topologies.get_topology_desc(platform="tpu", topology_name=hardware.topology, **slices)
    return list(found.devices)[: hardware.count]


def _gpus(hardware: Hardware) -> Sequence[Any]:
    from jax.experimental import topologies

    text, name = target(hardware.chip.name), hardware.chip.name
    _name_cudnn()
    found = topologies.get_topology_desc(
        topology_name=name, platform="cuda", target_config=text, topology=hardware.topology
    )
    return list(found.devices)


def _name_cudnn() -> None:
    """Lets programs call cuDNN where it isn't installed: the compiler writes down the call, and needs no more of it.

    JAX looks for cuDNN before it names it in a program; it has no public way to say that another machine has it. A
    version of JAX that looks in another way plans attention by XLA instead, which takes more memory.
    """
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    found = getattr(cudnn, "check_cudnn_version", None)
    try:
        if found is not None:
            found()
    except RuntimeError:  # JAX's CUDA plugin alone brings no cuDNN
        cudnn.check_cudnn_version = lambda: CUDNN


def fraction() -> float | None:
    """The share of a GPU's memory that XLA is told to take; None where nothing is said."""
    text = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION") or os.environ.get("XLA_CLIENT_MEM_FRACTION")
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if 0 < value <= 1 else None
