"""The plan of a run: the program that `fit` would run, compiled for some hardware and read."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax

from bigtrain.config.check import Checked
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust
from bigtrain.data.placement import CPU_RESIDENT_BYTES, DEVICE_SHARE, foreseen
from bigtrain.data.spec import Dataset
from bigtrain.parallel import allocator
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.peak import cores
from bigtrain.parallel.rules import Rules
from bigtrain.plan import host, modules
from bigtrain.plan.activations import residuals
from bigtrain.plan.collectives import Collective, collectives
from bigtrain.plan.hardware import Hardware, usable
from bigtrain.plan.memory import Memory, Resting, Use, exhausted, memory, use_of
from bigtrain.plan.report import Plan
from bigtrain.plan.roofline import Roofline, Traffic, roofline, traffic
from bigtrain.plan.speeds import speeds
from bigtrain.plan.topology import Target, fraction
from bigtrain.train import cache
from bigtrain.train.flops import bytes_of
from bigtrain.train.lower import Lowered
from bigtrain.train.prepare import Outline, feed_settings, outline
from bigtrain.train.sharding import bytes_on_a_device


@dataclasses.dataclass(frozen=True)
class Made:
    """A plan, and what it was read from."""

    plan: Plan
    checked: Checked
    outline: Outline
    lowered: Lowered
    resting: Resting
    uses: Mapping[str, Use]
    kept: int  # bytes that the backward pass keeps, on a device


def make(checked: Checked, trusted: Trust, dataset: Dataset, target: Target) -> Made:
    """Compiles a run for the target's devices and says what it would cost.

    Raises:
        ConfigError: for whatever `fit` would refuse.
    """
    started = time.perf_counter()
    chip, run = target.hardware.chip, checked.run
    on_cpu = target.devices[0].platform == "cpu"
    if chip.platform == "cpu" and run.compilation_cache:
        cache.enable()
    rules = rules_of(checked, target)
    made = outline(checked, trusted, dataset, rules)
    capacity, of = capacity_of(target, rules.mesh.size)
    room = CPU_RESIDENT_BYTES if chip.platform == "cpu" else int(DEVICE_SHARE * capacity)
    source = dataset.splits["train"]
    train = foreseen(source, dataset.spec, made.order, rules, **feed_settings(run, made.lengths.steps), room=room)
    lowered = made.lowered((train.feed, train.capacity), chip.platform)
    if not on_cpu:
        quick()
    uses, text = compiled(lowered, chip.platform if target.exact else "cpu")
    resting = Resting.of(made, lowered.state, train, len(dataset.splits.get("validation", ())))
    kept = residuals(lowered.definition, lowered.state, train.feed, lowered.shapes[3], rules)
    found = memory(resting, uses, kept, capacity, of, saves=chip.platform == "cpu")
    if chip.platform == "cpu":
        allocator.settle()  # as `fit` does, of whose memory this process is the measure
        found = with_process(found, rules.mesh.size)
    sent = collectives(text, rules.mesh.shape) if text else None
    useful, done = lowered.flops(), lowered.flops_repeated()
    line = _roofline(checked, made, lowered, (useful, done), sent or (), target)
    found_plan = Plan(
        hardware=target.hardware.name, devices=rules.mesh.size, of_devices=target.hardware.count,
        mesh=dict(rules.mesh.shape), approximate=target.approximate, model=checked.nodes["model"].callee.target,
        data=dict(dataset.spec.notes) | {"name": dataset.spec.name}, examples=len(source),
        vocabulary=len(dataset.spec.vocabulary) if dataset.spec.vocabulary else None,
        tokens=_tokens(dataset), batch_size=run.batch_size, steps=made.lengths.steps, price=run.plan.price,
        parts=modules.parts(lowered.state), optimizer_bytes=bytes_on_a_device(lowered.state.opt_state),
        flops=useful, flops_done=done, products=lowered.flops(products=True), memory=found, collectives=sent,
        roofline=line, remat=_remat(checked),
        precision=run.precision, accumulate=lowered.definition.accumulate, seconds=time.perf_counter() - started,
        speeds=speeds(target, run.precision, rules.mesh.size).source,
    )  # fmt: skip
    return Made(found_plan, checked, made, lowered, resting, uses, kept)


def rules_of(checked: Checked, target: Target) -> Rules:
    """The mesh of the config over the target's devices, and its rules."""
    cfg = checked.run.mesh
    if target.devices[0].platform == "cpu" and (len(target.devices) > 1 or not target.exact):
        cfg = dataclasses.replace(cfg, simulate=len(target.devices))  # `data: auto` takes them all
    return Rules.of(meshes.make(cfg, target.devices), cfg)


def quick() -> None:
    """Few of the compiler's optimizations: four times as fast, and memory and communication hardly change."""
    jax.config.update("jax_optimization_level", "O0")


def capacity_of(target: Target, devices: int) -> tuple[int, str]:
    """The bytes that each device can hold, and what they are."""
    chip = target.hardware.chip
    if target.capacity is not None:
        return target.capacity
    if chip.platform != "cpu":
        bytes_ = usable(chip, fraction())
        share = f"{bytes_ / chip.memory:.0%} of {chip.memory / 1e9:.1f} GB"
        why = "the rest is the system's" if chip.platform == "tpu" else "XLA_PYTHON_CLIENT_MEM_FRACTION"
        return bytes_, f"{share}; {why}"
    found = host.available()
    if found is None:
        raise ConfigError("hardware", "this system does not say how much memory is available")
    found += host.rss()  # this process ends before the run begins
    share = f", {found / 1e9:.1f} GB shared by {devices} devices" if devices > 1 else ""
    return found // devices, f"available memory{share}"


def with_process(found: Memory, devices: int, held: int = 0) -> Memory:
    """The same with what the process takes beside the arrays of its devices: interpreter, libraries, compiler.

    Args:
        found: the arrays of a device.
        devices: how many are in the process.
        held: bytes of their arrays that the process holds already.
    """
    whole = found.peak * devices
    process = host.process(whole - held)
    categories = {**found.categories, "process": max(0, (process - whole) // devices)}
    return dataclasses.replace(found, categories=categories)


def compiled(lowered: Lowered, platform: str) -> tuple[dict[str, Use], str | None]:
    """What each executable needs, and the text of the training step; None where it can't be compiled for its size."""
    with ThreadPoolExecutor(cores()) as pool:
        made = dict(zip(lowered.parts, pool.map(partial(_attempt, lowered), lowered.parts), strict=True))
    uses: dict[str, Use] = {}
    for name, (executable, needed) in made.items():
        if executable is not None:
            uses[name] = use_of(executable, platform)
        elif needed is not None:
            arguments = bytes_on_a_device(lowered.state) if name != "init" else 0
            uses[name] = Use(arguments, max(0, needed - arguments))
    executable = made["advance"][0]
    return uses, None if executable is None else executable.as_text()


def _attempt(lowered: Lowered, part: str) -> tuple[Any, int | None]:
    """The executable of a part, or the bytes that it would need."""
    try:
        return lowered.parts[part].compile(lowered.options[part]), None
    except jax.errors.JaxRuntimeError as error:
        needed = exhausted(error)
        if needed is None:
            raise
        return None, needed


def _roofline(
    checked: Checked, made: Outline, lowered: Lowered, flops: tuple[float, float], sent: Sequence[Collective],
    target: Target,
) -> Roofline:  # fmt: skip
    mesh = lowered.rules.mesh
    width = 2 if checked.run.precision == "bf16" else 4
    weights = sum(leaf.size for leaf in jax.tree.leaves(lowered.state.params)) * width
    state = bytes_on_a_device(lowered.state.params) + bytes_on_a_device(lowered.state.opt_state)
    kept = Traffic(weights, state, bytes_on_a_device(lowered.state.params))
    passes = (3 if flops[1] > 1.01 * flops[0] else 2) * lowered.definition.accumulate
    moved = traffic(bytes_of(lowered.traced), passes, kept, mesh.size, mesh.shape.get("tensor", 1))
    can = speeds(target, checked.run.precision, mesh.size)
    return roofline(*flops, moved, sent, granules(target.hardware, list(mesh.devices.flat)), can)


def granules(hardware: Hardware, devices: Sequence[Any]) -> list[int]:
    """The slice or node of each device of a mesh."""
    if hardware.chip.platform == "tpu" and devices[0].platform == "tpu":
        return [getattr(device, "slice_index", None) or 0 for device in devices]
    if devices[0].platform == "cpu":
        return [device.id // hardware.chip.largest for device in devices]
    return meshes.hosts(devices)


def _tokens(dataset: Dataset) -> int | None:
    """Tokens of an example, where it is a window of text."""
    inputs = dataset.spec.inputs
    return int(inputs.shape[0]) if inputs.kind == "tokens" and inputs.shape else None


def _remat(checked: Checked) -> str | None:
    node = checked.nodes["model"]
    parameter: Mapping[str, Any] = node.callee.parameters
    return str(node.arguments.get("remat", parameter["remat"].default)) if "remat" in parameter else None
