"""Measures a workload: one worker a side, all alive, timed in turn in an order drawn anew each round."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine, ratios
from bench.catalog import OURS, Side, Workload
from bench.environments import missing
from bench.remote import Failed, Remote

Say = Callable[[str], None]


@dataclass
class Entry:
    """What was measured of one side."""

    side: Side
    facts: dict[str, Any] = field(default_factory=dict)
    seconds_a_step: list[float] = field(default_factory=list)  # of each round
    steps: int = 0  # of one timing
    loss: float | None = None
    build_seconds: float | None = None
    compile_seconds: float | None = None  # and warming up
    peak_bytes: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    rounds: int = 7
    seconds: float = 3.0  # a timing of the fastest side
    losses: bool = True
    tolerance: float = 0.1  # how far a final loss may be from the median of all
    seed: int = 0


def measure(
    workload: Workload,
    sides: Sequence[Side],
    pythons: dict[str, str | None],
    data: Path,
    logs: Path,
    settings: Settings,
    say: Say,
) -> dict[str, Entry]:
    """Every side of a workload; one that fails says why in its entry, and the others go on."""
    entries = {side.name: Entry(side) for side in sides}
    workers: dict[str, Remote] = {}
    with ExitStack() as closing:
        for name, entry in entries.items():
            try:
                workers[name] = _started(workload, entry.side, pythons, logs)
                closing.callback(workers[name].close)
                _prepared(workload, entry, workers[name], data, settings, say)
            except Failed as failed:
                _give_up(entry, workers, failed, say)
        _rounds(workload, entries, workers, settings, say)
        for name, worker in list(workers.items()):
            try:
                entries[name].peak_bytes = worker.ask("peak")["bytes"]
            except Failed as failed:
                _give_up(entries[name], workers, failed, say)
    return entries


def _started(workload: Workload, side: Side, pythons: dict[str, str | None], logs: Path) -> Remote:
    python = pythons.get(side.environment)
    if python is None:
        raise Failed(missing(side.environment))
    return Remote(side, python, logs / f"{workload.name}-{side.name}.log")


def _prepared(workload: Workload, entry: Entry, worker: Remote, data: Path, settings: Settings, say: Say) -> None:
    """Builds, compares the loss, and compiles."""
    side = entry.side
    built = worker.ask("build", module=side.module, workload=workload.name, data=str(data), options=side.options)
    entry.build_seconds, entry.facts = built["wall"], built["facts"]
    if settings.losses:
        entry.loss = worker.ask("loss", steps=workload.loss_steps, tail=workload.tail)["loss"]
    warm = worker.ask("warm")
    entry.facts, entry.compile_seconds = warm["facts"], warm["wall"]
    entry.seconds_a_step = [warm["seconds_a_step"]]  # until the rounds; only to plan them
    loss = "" if entry.loss is None else f"   loss {entry.loss:.4g} after {workload.loss_steps:,} steps"
    say(f"{workload.name} {side.name:<16} {shown(warm['seconds_a_step'])} a step, roughly{loss}")


def _rounds(
    workload: Workload, entries: dict[str, Entry], workers: dict[str, Remote], settings: Settings, say: Say
) -> None:
    """The timings; the order of the sides is drawn anew each round, so that none always follows the same other."""
    alive = {name: entries[name].seconds_a_step[0] for name in workers}
    plan = ratios.planned(alive, settings.seconds) if alive else {}
    for name in alive:
        entries[name].steps, entries[name].seconds_a_step = plan[name], []
    rng = random.Random(settings.seed)
    for number in range(settings.rounds):
        for name in rng.sample(list(workers), len(workers)):
            try:
                done = workers[name].ask("run", steps=plan[name])
            except Failed as failed:
                _give_up(entries[name], workers, failed, say)
                continue
            entries[name].seconds_a_step.append(done["seconds"] / done["steps"])
            entries[name].facts = done["facts"]
        took = "  ".join(f"{name} {shown(entries[name].seconds_a_step[-1])}" for name in workers)
        say(f"{workload.name} round {number + 1} of {settings.rounds}: {took}   (load {machine.load()})")


def _give_up(entry: Entry, workers: dict[str, Remote], failed: Failed, say: Say) -> None:
    """A side that failed takes no further part."""
    entry.failure, entry.seconds_a_step = str(failed), []
    worker = workers.pop(entry.side.name, None)
    if worker is not None:
        worker.close()
    say(f"{entry.side.name}: {failed}")


def compared(entries: dict[str, Entry]) -> dict[str, ratios.Spread]:
    """The ratio bigtrain / other of every side that was measured, and of PyTorch's fastest form as 'torch-best'."""
    ours = entries[OURS.name].seconds_a_step
    times = {name: entry.seconds_a_step for name, entry in entries.items() if entry.seconds_a_step}
    if not ours:
        return {}
    found = {name: ratios.paired(ours, theirs) for name, theirs in times.items() if name != OURS.name}
    torch = {name: theirs for name, theirs in times.items() if name.startswith("torch-")}
    if torch:
        found["torch-best"] = found[ratios.best_of(torch)]
    return found


def shown(seconds: float) -> str:
    """A duration in the unit that suits it."""
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"
