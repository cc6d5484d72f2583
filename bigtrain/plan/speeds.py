"""How fast the devices of a plan are: tabled for accelerators, measured for this machine's CPU."""

from __future__ import annotations

import functools
import time

import numpy as np

from bigtrain.parallel.peak import TERA, peak, tabled
from bigtrain.plan.hardware import NETWORK, TPU_NETWORK
from bigtrain.plan.roofline import Speeds
from bigtrain.plan.topology import Target
from bigtrain.train.cache import cache_dir

COPIED = 64 << 20  # bytes, more than a cache holds


def speeds(target: Target, precision: str, devices: int) -> Speeds:
    """Operations and bytes a second.

    Args:
        target: the hardware.
        precision: 'f32' or 'bf16'.
        devices: how many of it are used.
    """
    chip = target.hardware.chip
    if chip.platform == "cpu":
        return _measured(target, precision, devices)
    most = tabled(chip.kind, precision)
    assert most is not None, f"{chip.kind} is in no table of peaks"
    network = TPU_NETWORK if chip.platform == "tpu" else NETWORK
    source = f"{most / TERA:g} TFLOP/s ({precision}), {chip.bandwidth / 1e9:,.0f} GB/s of memory, "
    source += f"{chip.link / 1e9:.0f} GB/s of links a device: the maker's numbers"
    return Speeds(most * devices, chip.bandwidth, chip.link, network, source)


def _measured(target: Target, precision: str, devices: int) -> Speeds:
    """Simulated devices share what the machine can do; what they send each other is copied."""
    flops = peak(target.devices, precision, cache_dir() / "peak.json", measure=True)
    assert flops is not None, "measured where it isn't known"
    each = _copying() / devices
    source = f"{flops.flops / 1e9:,.0f} GFLOP/s and {each * devices / 1e9:.0f} GB/s of memory, measured"
    return Speeds(flops.flops, each, each, each, source)


@functools.cache
def _copying() -> float:
    """Bytes a second that this machine reads and writes."""
    source, sink = np.ones(COPIED // 8), np.empty(COPIED // 8)
    best = 0.0
    for _ in range(4):
        begun = time.perf_counter()
        np.copyto(sink, source)
        best = max(best, 2 * COPIED / (time.perf_counter() - begun))
    return best
