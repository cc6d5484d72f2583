"""How many floating-point operations a second a device can do at most: tabled, or measured.

The tabled numbers are the makers' for dense matrix products, of one device as JAX counts them. On a GPU f32 products
run as TF32, and on a TPU as bf16, which is what JAX does by default.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from bigtrain.parallel.mesh import hosts

TERA = 1e12
TABLE = {  # words of JAX's `device_kind`: (bf16, f32) in TFLOP/s; the first that fits counts
    "GB200": (2500.0, 1250.0), "B200": (2250.0, 1125.0), "GH200": (989.4, 494.7),
    "H200": (989.4, 494.7), "H100 PCIe": (756.0, 378.0), "H100 NVL": (835.5, 417.5),
    "H100": (989.4, 494.7), "A100": (312.0, 156.0), "L40S": (362.0, 183.0), "L4": (121.0, 60.0), "A10": (125.0, 62.5),
    "TPU v6": (918.0, 918.0), "TPU v5p": (459.0, 459.0), "TPU v5 lite": (197.0, 197.0), "TPU v5e": (197.0, 197.0),
    "TPU v5": (459.0, 459.0), "TPU v4": (275.0, 275.0), "TPU v3": (61.5, 61.5), "TPU v2": (22.5, 22.5),
}  # fmt: skip
"""Sources: NVIDIA's data sheets (without sparsity), and Google's of Cloud TPU; of v2 and v3 JAX sees single cores."""

SIZES = (512, 1024, 2048)  # of square matrices; which is fastest depends on the caches
SECONDS = 0.25  # for each of them


@dataclass(frozen=True)
class Peak:
    """Operations a second of all devices together, and where the number is from."""

    flops: float
    source: str


def tabled(kind: str, precision: str) -> float | None:
    """One accelerator's peak, by JAX's name for it."""
    found = next((peaks for words, peaks in TABLE.items() if re.search(rf"\b{words}\b", kind, re.IGNORECASE)), None)
    return None if found is None else TERA * found[0 if precision == "bf16" else 1]


def peak(devices: Iterable[Any], precision: str, cache: Path, *, measure: bool, reached: float = 0.0) -> Peak | None:
    """The peak of some devices; None where it is in no table and was not measured.

    What was reached is a peak too: one that is lower was measured on a busy machine, or is in the table by mistake. So
    it is measured again whenever that is asked for, and the most that was ever seen counts.

    Args:
        devices: what a run uses; devices simulated on a CPU share its peak.
        precision: 'f32' or 'bf16'.
        cache: a file of measured peaks, read and added to.
        measure: whether to measure, for a second, what is in no table.
        reached: operations a second of a run on them.
    """
    used = list(devices)
    kind, number, first = used[0].device_kind, len(used), used[0]
    known = tabled(kind, precision)
    if known is not None and reached <= known * number:
        return Peak(known * number, f"{number} x {known / TERA:g} TFLOP/s, the maker's number")
    if first.platform == "cpu":
        kind, number = f"{_processor()}, {cores()} cores", len(set(hosts(used)))
    name, before = f"{kind}, {precision}", _read(cache)
    if name not in before and known is None and not measure:
        return None
    if name not in before or (measure and known is None):
        before[name] = max(before.get(name, 0.0), known or measured(precision, first))
        _write(cache, before)
    if reached > before[name] * number:
        _write(cache, before | {name: reached / number})
        return Peak(reached, "what this run reached")
    return Peak(before[name] * number, "measured: the fastest matrix product")


def measured(precision: str, device: Any) -> float:
    """The most operations a second that products of square matrices reach."""
    dtype = jnp.bfloat16 if precision == "bf16" else jnp.float32
    best = 0.0
    product = jax.jit(lambda left, right: left @ right)
    for size in SIZES:
        matrix = jax.device_put(jnp.ones((size, size), dtype), device)
        product(matrix, matrix).block_until_ready()  # compiles
        until = time.perf_counter() + SECONDS
        while (begun := time.perf_counter()) < until:
            product(matrix, matrix).block_until_ready()
            best = max(best, 2.0 * size**3 / (time.perf_counter() - begun))
    return best


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's model, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _read(cache: Path) -> dict[str, float]:
    try:
        found = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {str(name): float(value) for name, value in entries if isinstance(value, (int, float)) and value > 0}


def _write(cache: Path, values: dict[str, float]) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_name(f".{cache.name}.{os.getpid()}")
        partial.write_text(json.dumps(values, indent=1), encoding="utf-8")
        os.replace(partial, cache)
    except OSError:
        pass  # measured again next time
