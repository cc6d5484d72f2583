"""How the members of a group run at once: measured on a few steps, chosen, and said."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import jax

from bigtrain.config.errors import ConfigError, RunError
from bigtrain.data.placement import Dispatch, Resident
from bigtrain.parallel.peak import cores
from bigtrain.plan.check import here, memory_of
from bigtrain.sweep.slots import MOST_STEPS, Slots
from bigtrain.train.prepare import Prepared

Kind = Literal["sequential", "threads", "vmap"]
PROBE_SECONDS = 0.04  # of each measurement
ROUNDS = 3  # of measurements in turn, of which the least counts: another process may be in the way of one
GAIN = 0.9  # of the time, or less: what running at once has to take to be worth its memory
SHARE = 0.8  # of the memory that is free
SHARED = ("batch", "process")  # what members have in common: the training set, and Python itself
MOST_AT_ONCE = 64
TINY_SECONDS = 1e-4  # a step of this length is mostly the loop around it
WORTH_SECONDS = 20.0  # of all members' steps: it takes some seconds to compile a program of several members


@dataclass(frozen=True)
class Strategy:
    """How members run.

    Args:
        kind: one after the other, as threads that share the executables, or as one program of several members.
        at_once: members at the same time.
        reason: why, with what was measured.
    """

    kind: Kind
    at_once: int
    reason: str


def choose(ready: Prepared, members: int, kind: Kind | Literal["auto"], at_once: int | None) -> Strategy:
    """The strategy for a group.

    Args:
        ready: the run of one member.
        members: how many there are.
        kind: what the user asks for; auto measures.
        at_once: how many at the same time, as asked for; None takes what fits.

    Raises:
        ConfigError: when what is asked for can't be.
    """
    room, why = fitting(ready)
    most = max(1, min(members, room, at_once or MOST_AT_ONCE))
    processors, mesh = cores(), ready.rules.mesh
    resident, several = isinstance(ready.placement, Resident), any(
        size > 1 for axis, size in mesh.shape.items() if axis != "data"
    )  # fmt: skip
    asked = "hydra.launcher.strategy"
    if kind == "vmap" and (several or not resident):
        problem = "'vmap' can't be: " + ("each member takes the whole mesh" if several else "the data is streamed")
        raise ConfigError(asked, problem, hint="mesh=data" if several else "placement=resident keeps it on the device")
    if kind == "sequential" or most == 1:
        limit = "hydra.launcher.at_once" if at_once == 1 else "one member" if members == 1 else why
        return Strategy("sequential", 1, asked if kind == "sequential" else limit)
    if kind == "threads":
        return Strategy("threads", min(most, at_once or processors), asked)
    if kind == "vmap":
        return Strategy("vmap", most, asked)
    if several:
        return Strategy("sequential", 1, "each member takes the whole mesh")
    platform = mesh.devices.flat[0].platform
    if platform != "cpu" and resident:
        return Strategy("vmap", most, f"a small model leaves a {platform} idle; {why}")
    if platform != "cpu" or mesh.size > 1:
        return Strategy("sequential", 1, "each member takes all devices")
    try:
        return _measured(ready, min(most, processors), members, most, most if resident else 1)
    except (RuntimeError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return Strategy("sequential", 1, f"more at once could not be measured: {first}")


def _measured(ready: Prepared, threads: int, members: int, most: int, slots: int) -> Strategy:
    """One after the other, as threads, or as one program: whichever takes the least time for a member's step.

    One program has to be compiled to be measured, so only where the steps are so short that the loop around them
    counts, and there are so many that it may pay.
    """
    steps = _steps(ready)
    alternatives = (1, threads) if threads > 1 else (1,)
    rounds = [
        [seconds_a_step(ready, number, steps) for number in alternatives] for _ in range(ROUNDS if steps > 1 else 1)
    ]
    alone, *others = map(min, zip(*rounds, strict=True))
    found, text = Strategy("sequential", 1, ""), f"one after the other {alone * 1e6:,.0f}"
    best = alone
    for together in others:
        text += f", {threads} threads {together * 1e6:,.0f}"
        if together <= GAIN * alone:
            # one more than there are cores: one or the other waits for the disk
            found, best = Strategy("threads", min(most, threads + 1), ""), together
    if slots > 1 and best < TINY_SECONDS and best * members * ready.lengths.steps > WORTH_SECONDS:
        common = Slots(ready, slots).seconds_a_step(min(steps, MOST_STEPS), len(rounds))
        text += f", one program of {slots} {common * 1e6:,.0f}"
        if common <= GAIN * best:
            found = Strategy("vmap", slots, "")
    return dataclasses.replace(found, reason=f"measured, us a member's step: {text}")


def _steps(ready: Prepared) -> int:
    """How many steps make a measurement."""
    seconds_a_step(ready, 1, 1)  # the first call allocates
    one = seconds_a_step(ready, 1, 1)
    return max(1, min(ready.placement.capacity, int(PROBE_SECONDS / max(one, 1e-6))))


def seconds_a_step(ready: Prepared, threads: int, steps: int) -> float:
    """The time of a step of one member, with so many training at once."""
    numbers = ready.program.numbers(ready.values)
    states = [ready.program.init(numbers) for _ in range(threads)]
    feeds = [next(iter(ready.placement.feeds([Dispatch(0, steps)])))[1] for _ in range(threads)]
    jax.block_until_ready((states, feeds))

    def advance(at: int) -> None:
        jax.block_until_ready(ready.program.advance(states[at], feeds[at], steps, numbers))

    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        list(pool.map(advance, range(threads)))
        return (time.perf_counter() - begun) / (steps * threads)


def fitting(ready: Prepared) -> tuple[int, str]:
    """How many members fit into the memory of a device at once, and how that is known."""
    found = memory_of(ready, here(ready.rules.mesh.devices.flat))
    if found is None:
        return MOST_AT_ONCE, f"{MOST_AT_ONCE} at once: the memory of the device is not known"
    if ready.run.plan.checks and not found.fits:
        raise RunError(f"does not fit: {found.missing / 1e9:.2f} GB are missing; to start all the same: plan.check=off")
    shared = sum(found.categories.get(name, 0) for name in SHARED)
    own = max(1, found.peak - shared)
    room = max(1, int((SHARE * found.capacity - shared) / own))
    return room, f"{room:,} members of {own / 1e6:,.1f} MB fit into {found.capacity / 1e9:.1f} GB ({found.of})"
