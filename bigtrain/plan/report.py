"""A plan: what was found out, as one JSON object and as a page for people."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigtrain.plan.advice import Advice
from bigtrain.plan.collectives import Collective
from bigtrain.plan.memory import Memory
from bigtrain.plan.modules import Part
from bigtrain.plan.roofline import Roofline

WIDTH = 80
NAMED = 13  # columns of the names on the left


@dataclass(frozen=True)
class Plan:
    """What a run would cost on some hardware."""

    hardware: str
    devices: int
    of_devices: int
    mesh: Mapping[str, int]
    approximate: str | None
    model: str
    data: Mapping[str, str]
    examples: int
    vocabulary: int | None
    tokens: int | None  # of an example
    batch_size: int
    accumulate: int
    steps: int
    price: float | None  # of a device for an hour
    parts: Sequence[Part]
    optimizer_bytes: int  # on each device
    flops: float
    flops_done: float
    products: float  # operations of matrix products and convolutions alone
    memory: Memory
    collectives: Sequence[Collective] | None  # None where nothing could be compiled
    roofline: Roofline
    remat: str | None
    precision: str
    seconds: float  # that the plan took
    speeds: str
    advice: Advice | None = None

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(part.parameters for part in self.parts)

    @property
    def examples_per_second(self) -> float:
        """At most, by the roofline."""
        return self.batch_size / self.roofline.seconds

    def to_json(self) -> dict[str, Any]:
        """Everything, in bytes, seconds and operations."""
        line, memory = self.roofline, self.memory
        hours = self.steps * line.seconds / 3600
        return {
            "hardware": self.hardware,
            "devices": self.devices,
            "mesh": dict(self.mesh),
            "approximate": self.approximate,
            "model": self.model,
            "data": self.data,
            "vocabulary": self.vocabulary,
            "sequence_length": self.tokens,
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "precision": self.precision,
            "remat": self.remat,
            "parameters": self.parameters,
            "parameter_bytes": sum(part.bytes for part in self.parts),
            "modules": [vars(part) for part in self.parts],
            "optimizer_bytes_per_device": self.optimizer_bytes,
            "flops_per_step": self.flops,
            "matmul_flops_per_step": self.products,
            "flops_per_step_with_recomputation": self.flops_done,
            "fits": memory.fits,
            "memory": {
                "peak_bytes": memory.peak,
                "capacity_bytes": memory.capacity,
                "capacity": memory.of,
                "missing_bytes": max(0, memory.missing),
                "during": memory.during,
                "categories": dict(memory.categories),
            },
            "collectives": None
            if self.collectives is None
            else [
                {"kind": c.kind, "axis": c.axis, "devices": c.members, "count": c.count, "bytes": c.bytes}
                for c in self.collectives
            ],
            "roofline": {
                "compute_seconds": line.compute,
                "memory_seconds": line.memory,
                "network_seconds": dict(line.network),
                "bound": line.bound,
                "speeds": self.speeds,
            },
            "step_seconds": line.seconds,
            "step_seconds_without_overlap": line.serial_seconds,
            "mfu_bound": line.mfu_bound,
            "examples_per_second": self.examples_per_second,
            "tokens_per_second": self.examples_per_second * self.tokens if self.tokens else None,
            "steps": self.steps,
            "hours": hours,
            "device_hours": hours * self.devices,
            "cost": hours * self.devices * self.price if self.price else None,
            "advice": self.advice.to_json() if self.advice else None,
            "seconds": round(self.seconds, 2),
        }


def page(plan: Plan) -> str:
    """The plan for people, 80 columns wide."""
    rows: list[tuple[str, str]] = [("hardware", _hardware(plan)), ("data", _data(plan))]
    if plan.approximate:
        rows.insert(1, ("", plan.approximate))
    lines = [*_rows(rows), "", *_modules(plan), "", *_memory(plan), "", *_collectives(plan), "", *_time(plan)]
    return "\n".join(lines) + "\n"


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    found = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, WIDTH - NAMED, break_long_words=False, break_on_hyphens=False) or [""]
        found += [f"{name:<{NAMED}}{wrapped[0]}", *(f"{'':{NAMED}}{line}" for line in wrapped[1:])]
    return found


def _hardware(plan: Plan) -> str:
    axes = " ".join(f"{axis}={size}" for axis, size in plan.mesh.items())
    used = "" if plan.devices == plan.of_devices else f", {plan.devices} of them used"
    return f"{plan.hardware}{used}; mesh {axes}"


def _data(plan: Plan) -> str:
    text = f"{plan.data['name']}: {plan.examples:,} examples"
    if plan.tokens:
        text += f" of {plan.tokens:,} tokens"
    if plan.vocabulary:
        text += f", a vocabulary of {plan.vocabulary:,}"
    return text + (f" ({plan.data['source']})" if plan.data.get("source") else "")


def _modules(plan: Plan) -> list[str]:
    total = sum(part.bytes for part in plan.parts)
    each = sum(part.device_bytes for part in plan.parts)
    lines = [f"{'parameters':<34}{'number':>16}{'bytes':>13}{'on a device':>14}"]
    for part in plan.parts:
        lines.append(
            f"  {_cut(part.name, 32):<32}{part.parameters:>16,}{size(part.bytes):>13}{size(part.device_bytes):>14}"
        )
    return [*lines, f"  {'all':<32}{plan.parameters:>16,}{size(total):>13}{size(each):>14}"]


def _memory(plan: Plan) -> list[str]:
    memory = plan.memory
    lines = [f"memory of a device, at its fullest ({memory.during})"]
    for name, number in memory.categories.items():
        if number:
            lines.append(f"  {name:<32}{size(number):>16}{number / memory.peak:>10.1%}")
    verdict = f"fits, {size(-memory.missing)} left" if memory.fits else f"does not fit: {size(memory.missing)} missing"
    lines.append(f"  {'all':<32}{size(memory.peak):>16}{memory.peak / max(memory.capacity, 1):>10.1%} of the capacity")
    lines += _rows([("  capacity", f"{size(memory.capacity)} ({memory.of})"), ("  verdict", verdict)])
    return lines


def _collectives(plan: Plan) -> list[str]:
    if plan.collectives is None:
        return ["sent in a step: not known, since the program does not compile for its size"]
    if not plan.collectives:
        return ["sent in a step: nothing"]
    lines = [f"{'sent in a step':<34}{'axis':<18}{'times':>8}{'bytes':>13}"]
    merged: dict[tuple[str, str], list[float]] = {}
    for entry in plan.collectives:
        sums = merged.setdefault((entry.kind, entry.axis), [0.0, 0.0])
        sums[0], sums[1] = sums[0] + entry.count, sums[1] + entry.bytes
    for (kind, axis), (count, sent) in merged.items():
        lines.append(f"  {kind:<32}{axis:<18}{count:>8,.0f}{size(sent):>13}")
    return lines


def _time(plan: Plan) -> list[str]:
    line = plan.roofline
    network = " + ".join(f"{axis} {duration(seconds)}" for axis, seconds in line.network.items())
    computed = f"{duration(line.compute)} for {flops(plan.flops)}FLOP"
    if plan.flops_done > 1.001 * plan.flops:
        computed += f", {flops(plan.flops_done)}FLOP with what is computed again"
    rate = plan.examples_per_second
    speed = f"{count(rate)}examples/s" + (f", {count(rate * plan.tokens)}tokens/s" if plan.tokens else "")
    hours = plan.steps * line.seconds / 3600
    pieces = f" in {plan.accumulate} microbatches" if plan.accumulate > 1 else ""
    whole = f"{plan.steps:,} steps of {plan.batch_size} examples{pieces}: {_hours(hours)}"
    whole += f", {hours * plan.devices:,.4g} device-hours"
    if plan.price:
        whole += f", {hours * plan.devices * plan.price:,.2f} at {plan.price:g} a device-hour"
    rows = [
        ("computation", computed),
        ("traffic", f"{duration(line.memory)} of reading and writing memory"),
        ("network", "not known" if plan.collectives is None else network or "nothing to send"),
        (
            "a step",
            f"at least {duration(line.seconds)} ({line.bound}), {duration(line.serial_seconds)} if nothing overlaps",
        ),
        ("at most", f"{speed}; MFU {line.mfu_bound:.1%}"),
        ("the run", whole),
        ("by", plan.speeds),
    ]
    return _rows(rows)


def refusal(plan: Plan) -> str:
    """What is said of a plan that doesn't fit: how much is missing, and what to change."""
    text = f"does not fit on {plan.hardware}: {plan.memory.missing / 1e9:.2f} GB are missing on each device"
    text += f" ({plan.memory.peak / 1e9:.2f} GB of {plan.memory.capacity / 1e9:.2f} GB, in {plan.memory.during})"
    return text + (f"\n  {plan.advice.sentence()}" if plan.advice else "")


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.2f} {unit}"
        number /= 1000
    return f"{number:.2f} TB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1 or unit == "µs":
            return f"{seconds * scale:.3g} {unit}"
    return ""


def count(number: float) -> str:
    """A number with its decimal prefix, and the space before its unit."""
    for unit in ("", "k", "M", "G", "T", "P"):
        if abs(number) < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} E"


flops = count


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.1f} minutes" if hours * 60 >= 1 else f"{hours * 3600:.3g} seconds"
    return f"{hours:,.4g} hours"


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"…{name[-width + 1 :]}"
