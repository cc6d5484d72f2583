"""Finds the change that makes a run fit and costs the least throughput; the best ones are compiled to be sure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.plan.advice import Advice
from bigtrain.plan.estimate import Estimate, Estimator
from bigtrain.plan.hardware import parse
from bigtrain.plan.make import Made
from bigtrain.plan.memory import Resting
from bigtrain.plan.report import Plan
from bigtrain.plan.variation import REMAT, Variation, meshes

SECONDS = 40.0  # that may be spent on compiling candidates
MARGIN = 1.1  # an estimate up to so many times the capacity is still worth compiling
HALVINGS = 12

Compile = Callable[[tuple[str, ...]], Plan]
"""The plan of the run with further overrides; raises `ConfigError` where that can't be."""


@dataclass(frozen=True)
class Candidate:
    """A change, how much it alters what is trained (0: nothing), and what it is expected to need."""

    changes: tuple[str, ...]
    tier: int
    alters: str | None
    estimate: Estimate


def advise(
    base: Made, estimator: Estimator, mesh_of: Callable[[tuple[str, ...]], MeshConfig], make: Compile | None
) -> Advice | None:
    """The cheapest change that makes the run fit; None where none of those tried does.

    Changes that train the same come first, then the type of computation, then the batch, each by predicted step time.

    Args:
        base: the plan that doesn't fit.
        estimator: of its variants.
        mesh_of: the mesh of a config with further overrides.
        make: compiles a candidate to be sure; without it the estimate is taken at its word.
    """
    found = sorted(candidates(base, estimator, mesh_of), key=lambda entry: (entry.tier, _per_example(entry, base)))
    started = time.perf_counter()
    own = estimator.of(estimator.variation).seconds
    for entry in found:
        slowdown = entry.estimate.seconds / own * _share(entry, base)  # of two estimates, which err the same way
        if make is None or time.perf_counter() - started > SECONDS:
            if entry.estimate.fits:
                return Advice(entry.changes, entry.estimate.peak, slowdown, False, entry.alters)
            continue
        if entry.estimate.peak > MARGIN * entry.estimate.capacity:
            continue
        try:
            made = make(entry.changes)
        except ConfigError:  # a rule that splits nothing, for one
            continue
        if made.memory.fits:
            return Advice(entry.changes, made.memory.peak, slowdown, True, entry.alters)
    return more_devices(base)


def more_devices(base: Made) -> Advice | None:
    """The fewest devices of the same kind that share it by FSDP, estimated; None where they would not help.

    State, gradients and activations are cut evenly; a tenth is left for what isn't.
    """
    hardware, memory = base.plan.hardware, base.plan.memory
    now = parse(hardware)
    if now.chip.platform == "cpu" or base.plan.devices != now.count:
        return None
    for doubling in range(1, HALVINGS):
        count = now.count << doubling
        try:
            larger = parse(f"{now.chip.name}-{count}")
        except ConfigError:  # no slice has so many
            continue
        peak = int(memory.peak * now.count / count * 1.1)
        if base.plan.batch_size % count == 0 and peak <= memory.capacity:
            changes = (f"hardware={larger.name}", "mesh=fsdp")
            return Advice(changes, peak, now.count / count, False, f"{count // now.count} times the devices")
    return None


def _share(entry: Candidate, base: Made) -> float:
    """Steps of the run for one of the candidate's with the same number of examples."""
    batch = next((text.split("=")[1] for text in entry.changes if text.startswith("batch_size=")), None)
    return base.plan.batch_size / int(batch) if batch else 1.0


def _per_example(entry: Candidate, base: Made) -> float:
    return entry.estimate.seconds * _share(entry, base)


def candidates(
    base: Made, estimator: Estimator, mesh_of: Callable[[tuple[str, ...]], MeshConfig]
) -> Iterator[Candidate]:
    """Every change that is expected to come near."""
    own = estimator.variation
    if base.plan.memory.during == "evaluation":
        yield from _evaluation(base)
    starts = [own]
    for changes in meshes(base.plan.of_devices):
        if base.plan.of_devices > 1:
            starts.append(own.with_mesh(mesh_of(changes), changes))
    for start in starts:
        for variant in _same(start):
            yield from _tried(variant, estimator, 0, None)
        if start.precision == "f32":
            for variant in _same(start.with_precision("bf16")):
                yield from _tried(variant, estimator, 1, "computes in bf16")
    batch = own.batch // 2
    while batch:
        for variant in (own, *(own.with_remat(kind) for kind in _more(own.remat))):
            yield from _tried(variant.with_batch(batch), estimator, 2, "smaller batches train differently")
        batch //= 2


def _same(start: Variation) -> Iterator[Variation]:
    """The ways to compute the same with less memory."""
    for remat in (None, *_more(start.remat)):
        variant = start if remat is None else start.with_remat(remat)
        yield variant
        for doubling in range(1, HALVINGS):
            yield variant.with_accumulate(start.accumulate << doubling)


def _more(remat: str | None) -> tuple[str, ...]:
    return () if remat is None else REMAT[REMAT.index(remat) + 1 :]


def _tried(variant: Variation, estimator: Estimator, tier: int, alters: str | None) -> Iterator[Candidate]:
    if not variant.changes:
        return
    try:
        estimate = estimator.of(variant)
    except ConfigError:
        return
    if estimate.peak <= MARGIN * estimate.capacity:
        yield Candidate(variant.changes, tier, alters, estimate)


def _evaluation(base: Made) -> Iterator[Candidate]:
    """Evaluation in smaller batches, where it needs more than training."""
    batch = base.outline.batching.batch_size
    rest: Resting = base.resting
    made = base.uses["evaluate"].made
    fixed = base.plan.memory.peak - made
    ways = base.outline.rules.ways("batch")
    training = base.uses["advance"].made + fixed
    while batch % (2 * ways) == 0 and batch > ways:
        batch //= 2
        peak = max(training, int(fixed + made * batch / base.outline.batching.batch_size))
        changes = (f"eval_batch_size={batch}",)
        capacity = base.plan.memory.capacity
        if peak <= capacity and rest.state < capacity:
            yield Candidate(changes, 0, None, Estimate(peak, capacity, base.plan.roofline.seconds))
            return
