"""Descriptions of NVIDIA GPUs for XLA, which compiles for them without one.

The values are those that OpenXLA publishes for the same devices (xla/backends/gpu/target_config/specs, Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.plan.hardware import CHIPS


@dataclass(frozen=True)
class _Cores:
    """What differs between GPUs beside their memory."""

    capability: int  # the major number; the minor one is 0
    cores: int
    fpus: int  # of a core
    shared: int  # bytes of shared memory, of a core
    shared_block: int  # and of a block that asks for it
    cache: int  # bytes of the L2
    clock: float  # GHz


_AMPERE = _Cores(8, 108, 64, 167_936, 166_912, 41_943_040, 1.41)
_HOPPER = _Cores(9, 132, 128, 233_472, 232_448, 52_428_800, 1.98)
_BLACKWELL = _Cores(10, 148, 128, 233_472, 232_448, 132_644_864, 1.965)
CORES = {"a100": _AMPERE, "a100-40gb": _AMPERE, "h100": _HOPPER, "h200": _HOPPER, "b200": _BLACKWELL}

_TEXT = """gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {cores.shared}
  shared_memory_per_block_optin: {cores.shared_block}
  threads_per_core_limit: 2048
  core_count: {cores.cores}
  fpus_per_core: {cores.fpus}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  memory_bandwidth: {bandwidth}
  l2_cache_size: {cores.cache}
  clock_rate_ghz: {cores.clock}
  device_memory_size: {chip.memory}
  cuda_compute_capability {{ major: {cores.capability} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{chip.kind}"
"""


def target(name: str) -> str:
    """The description of a GPU of `CHIPS` as a text proto (`GpuTargetConfigProto`)."""
    chip = CHIPS[name]
    return _TEXT.format(cores=CORES[name], chip=chip, bandwidth=int(chip.bandwidth))
