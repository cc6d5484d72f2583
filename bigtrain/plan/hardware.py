"""Hardware by name: what its devices can hold, compute and move, and how many there are. Imports no JAX.

Sources: Google's pages of Cloud TPU (v5e, v5p, v6e: memory, bandwidth of it and of the links between chips), NVIDIA's
data sheets of A100, H100, H200, B200 (bandwidths, NVLink) and OpenXLA's descriptions of the same GPUs (bytes). The
links of TPUs and the networks are those of Austin et al. 2025, "How to Scale Your Model".
Peaks of computation are those that the speed of a run is compared with (`parallel/peak.py`).
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Literal

from bigtrain.config.errors import ConfigError

GB, GIB = 10**9, 2**30
GPUS_A_NODE = 8
NETWORK = 50e9  # bytes/s a device between nodes or slices, one way: a 400 Gb/s adapter for each GPU
TPU_NETWORK = 6.25e9  # bytes/s a chip between slices: 200 Gb/s of data-centre network for a host of four chips


@dataclass(frozen=True)
class Chip:
    """One accelerator as JAX counts devices.

    Args:
        name: as in `hardware=NAME`.
        kind: JAX's `device_kind`.
        platform: what compiles for it.
        memory: bytes that the device has.
        usable: bytes that XLA can use, without what the system reserves.
        bandwidth: of the memory, bytes a second.
        link: bytes a second that a device sends to its neighbours along one mesh axis inside a slice or node.
        largest: devices that the fast network joins; more are several slices or nodes.
        dims: of the network of a TPU slice.
    """

    name: str
    kind: str
    platform: Literal["tpu", "gpu", "cpu"]
    memory: int
    usable: int
    bandwidth: float
    link: float
    largest: int
    dims: int = 0


CHIPS = {
    chip.name: chip
    for chip in (
        # a ring over one axis uses a link in each direction; `usable` is what libtpu 0.0.42 says is available
        Chip("v5e", "TPU v5 lite", "tpu", 16 * GIB, int(15.75 * GIB), 819e9, 2 * 45e9, 256, 2),
        Chip("v5p", "TPU v5", "tpu", 96 * GIB, int(95.74 * GIB), 2765e9, 2 * 90e9, 4096, 3),
        Chip("v6e", "TPU v6 lite", "tpu", 32 * GIB, int(31.25 * GIB), 1640e9, 2 * 90e9, 256, 2),
        # XLA takes 0.75 of a GPU's memory when it starts (XLA_PYTHON_CLIENT_MEM_FRACTION)
        Chip("a100-40gb", "NVIDIA A100-SXM4-40GB", "gpu", 42_331_013_120, 0, 1555e9, 300e9, GPUS_A_NODE),
        Chip("a100", "NVIDIA A100-SXM4-80GB", "gpu", 85_100_068_864, 0, 2039e9, 300e9, GPUS_A_NODE),
        Chip("h100", "NVIDIA H100 80GB HBM3", "gpu", 84_942_979_072, 0, 3352e9, 450e9, GPUS_A_NODE),
        Chip("h200", "NVIDIA H200", "gpu", 151_397_597_184, 0, 4800e9, 450e9, GPUS_A_NODE),
        Chip("b200", "NVIDIA B200", "gpu", 191_514_411_008, 0, 7672e9, 900e9, GPUS_A_NODE),
        Chip("cpu", "cpu", "cpu", 0, 0, 0.0, 0.0, 1 << 20),
    )
}

PLANES = {4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)}
CUBES = {
    4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4), 64: (4, 4, 4), 128: (4, 4, 8), 256: (4, 8, 8),
    512: (8, 8, 8), 1024: (8, 8, 16), 2048: (8, 16, 16), 4096: (16, 16, 16),
}  # fmt: skip
"""The shapes of slices by their number of chips."""


@dataclass(frozen=True)
class Hardware:
    """So many devices of one kind."""

    chip: Chip
    count: int

    @property
    def name(self) -> str:
        """The name in full, such as tpu-v5e-256."""
        lead = "" if self.chip.platform == "cpu" else f"{self.chip.platform}-"
        return f"{lead}{self.chip.name}" + (f"-{self.count}" if self.count > 1 or lead else "")

    @property
    def inside(self) -> int:
        """Devices of one slice or node."""
        return min(self.count, self.chip.largest)

    @property
    def granules(self) -> int:
        """Slices or nodes."""
        return math.ceil(self.count / self.chip.largest)

    @property
    def topology(self) -> str:
        """The name that the compiler has for a slice, or for all nodes."""
        if self.chip.platform == "gpu":
            return f"1x{self.granules}x{self.inside}"  # partitions x hosts x GPUs of a host
        shape = _slices(self.chip)[max(4, self.inside)]  # one chip is one of the smallest slice
        return f"{self.chip.name}:{'x'.join(map(str, shape))}"


def usable(chip: Chip, fraction: float | None = None) -> int:
    """Bytes of a device that XLA can use.

    Args:
        chip: the accelerator.
        fraction: the share of a GPU's memory that XLA takes.
    """
    return chip.usable or int((0.75 if fraction is None else fraction) * chip.memory)


def parse(text: str) -> Hardware:
    """The hardware of a name: `tpu-v5e-256`, `gpu-h100-8`, `h100x8`, `v6e`, `cpu`, `cpu-8` (simulated).

    Raises:
        ConfigError: for a name that isn't known, with those spelled like it, or a number that no slice has.
    """
    found = re.fullmatch(r"(?:(tpu|gpu)-)?(a100-40gb|[a-z0-9]+?)(?:[-x](\d+))?", text.strip().lower())
    chip = CHIPS.get(found[2]) if found else None
    if found is None or chip is None or (found[1] and found[1] != chip.platform):
        raise ConfigError("hardware", f"there is no hardware {text!r}", allowed=ALLOWED, hint=_meant(text))
    count = int(found[3] or 1)
    if count < 1 or (chip.platform == "cpu" and count > 4096):
        raise ConfigError("hardware", f"{count} devices are not allowed", allowed="1 to 4096 simulated devices")
    if chip.platform == "tpu":
        _check_slice(chip, count)
    elif chip.platform == "gpu" and count > chip.largest and count % chip.largest:
        below, above = count // chip.largest * chip.largest, (count // chip.largest + 1) * chip.largest
        problem = f"{count} are no whole nodes of {chip.largest}"
        raise ConfigError("hardware", problem, allowed=f"{chip.name} with up to 8, or multiples: {below}, {above}")
    return Hardware(chip, count)


ALLOWED = "tpu-v5e-N, tpu-v5p-N, tpu-v6e-N, gpu-a100-N, gpu-a100-40gb-N, gpu-h100-N, gpu-h200-N, gpu-b200-N, cpu, cpu-N"


def _slices(chip: Chip) -> dict[int, tuple[int, ...]]:
    return PLANES if chip.dims == 2 else CUBES


def _check_slice(chip: Chip, count: int) -> None:
    whole = [1, *_slices(chip)]
    if count in whole or (count > chip.largest and count % chip.largest == 0):
        return
    sizes = [*whole, *(chip.largest * slices for slices in (2, 4, 8))]
    near = sorted(sizes, key=lambda size: abs(size - count))[:2]
    problem = f"no slices of {chip.name} have {count} chips together"
    hint = f"nearest: {' or '.join(f'hardware=tpu-{chip.name}-{size}' for size in sorted(near))}"
    raise ConfigError("hardware", problem, allowed=f"{', '.join(map(str, whole))}, or multiples of the last", hint=hint)


def _meant(text: str) -> str | None:
    """The names that are spelled most like this one, with its number."""
    lowered = text.strip().lower()
    found = re.fullmatch(r"(.*?)(?:[-x](\d+))?", lowered)
    stem, number = (found[1], found[2]) if found else (lowered, None)
    full = {(chip.name if chip.platform == "cpu" else f"{chip.platform}-{chip.name}"): chip for chip in CHIPS.values()}
    names = {**{name: name for name in full}, **{chip.name: name for name, chip in full.items()}}
    close = difflib.get_close_matches(stem, list(names), n=3, cutoff=0.5)
    best = list(dict.fromkeys(names[name] for name in close))[:2]
    return (
        f"did you mean {' or '.join(repr(name + (f'-{number}' if number else '')) for name in best)}?" if best else None
    )
