"""The check before a run starts: what can't fit into the memory of the devices at hand is refused, with advice."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax

from bigtrain.config.errors import ConfigError
from bigtrain.config.overrides import key_of
from bigtrain.config.trust import Trust
from bigtrain.data.placement import QUEUED, Foreseen, Resident
from bigtrain.data.spec import Dataset
from bigtrain.parallel import distributed
from bigtrain.parallel import mesh as meshes
from bigtrain.plan import host
from bigtrain.plan.advice import Advice, DoesNotFit
from bigtrain.plan.hardware import CHIPS, Hardware
from bigtrain.plan.make import capacity_of, with_process
from bigtrain.plan.memory import Memory, Resting, exhausted, memory, use_of
from bigtrain.plan.planner import Planner, Variant
from bigtrain.plan.topology import Target
from bigtrain.train.prepare import Outline, Prepared
from bigtrain.train.sharding import bytes_on_a_device


def check_memory(
    ready: Prepared, variant: Variant, trusted: Trust, dataset: Dataset, typed: Sequence[str] = ()
) -> None:
    """Refuses a compiled run that its devices can't hold; of several processes, process 0 decides for all.

    Args:
        ready: the run; its programs are compiled already, so the check costs next to nothing.
        variant: gives the config with further overrides, for the advice.
        trusted: which code may be built.
        dataset: the data.
        typed: the overrides of the run, for the command that finds such advice.

    Raises:
        DoesNotFit: with how much is missing, and the cheapest change that makes it fit.
    """
    distributed.current().shared("memory", partial(_check, ready, variant, trusted, dataset, typed))


def _check(ready: Prepared, variant: Variant, trusted: Trust, dataset: Dataset, typed: Sequence[str]) -> None:
    target = here(ready.rules.mesh.devices.flat)
    found = memory_of(ready, target)
    if found is None or found.fits:
        return
    if distributed.current().count > 1:  # who compiled variants would keep the others waiting, for minutes
        raise DoesNotFit(_text(found, _command(target, typed)))
    advice = _advice(variant, trusted, dataset, target)
    nothing = "no change of mesh, batch_size, remat or accumulate makes it fit"
    raise DoesNotFit(_text(found, advice.sentence() if advice else nothing))


def explained(error: Exception, typed: Sequence[str]) -> DoesNotFit | None:
    """The compiler's refusal of a program that doesn't fit, in our words; None for any other error."""
    needed = exhausted(error)
    if needed is None:
        return None
    target = here(jax.devices())
    capacity = capacity_of(target, len(target.devices))[0] if target.capacity or target.hardware.chip.memory else 0
    missing = f"{(needed - capacity) / 1e9:.2f} GB are missing on each device" if capacity else "memory is missing"
    text = f"does not fit: {missing} (it needs {needed / 1e9:.2f} GB)"
    return DoesNotFit(f"{text}\n  {_command(target, typed)}")


def here(devices: Any) -> Target:
    """The devices at hand as the target of a plan."""
    found = list(devices)
    if found[0].platform == "cpu":
        return Target(Hardware(CHIPS["cpu"], len(found)), found, capacity=_of_this_host(found))
    everything = jax.devices()
    kind = found[0].device_kind.lower()
    chip = next((chip for chip in CHIPS.values() if chip.kind.lower() == kind), CHIPS["cpu"])
    limit = (found[0].memory_stats() or {}).get("bytes_limit")
    capacity = (int(limit), "what the device offers") if limit else None
    return Target(Hardware(chip, len(everything)), everything, capacity=capacity)


def _of_this_host(devices: Sequence[Any]) -> tuple[int, str] | None:
    """What each device can hold where several processes share a host's memory; None for a process by itself.

    The others have compiled the same program, so what each holds already is about what this one does.
    """
    peers, available = distributed.current(), host.available()
    if peers.count == 1 or available is None:
        return None
    places = meshes.hosts(devices)
    own = peers.hosts()[peers.index]
    number, processes = places.count(own), peers.hosts().count(own)
    found = available + processes * host.rss()
    return found // number, f"available memory, {found / 1e9:.1f} GB shared by {number} devices"


def memory_of(ready: Prepared, target: Target) -> Memory | None:
    """The fullest moment of a compiled run; None where the devices don't say what they can hold."""
    platform = ready.rules.mesh.devices.flat[0].platform
    if platform != "cpu" and target.capacity is None:
        return None
    if platform == "cpu" and host.available() is None:
        return None
    placement, program = ready.placement, ready.program
    feeds = 1 if isinstance(placement, Resident) else QUEUED + 2
    train = Foreseen(placement.abstract(), placement.capacity, feeds, ready.placement_reason)
    made = Outline(
        ready.rules, ready.lengths, placement.order, program.definition, ready.values, ready.batching, cuts=False
    )
    resting = Resting.of(made, program.abstract, train, len(ready.dataset.splits.get("validation", ())))
    uses = {name: use_of(item, platform) for name, item in program.executables.items()}
    own = jax.process_index()
    local = sum(device.process_index == own for device in ready.rules.mesh.devices.flat)
    found = memory(resting, uses, 0, *capacity_of(target, local), saves=platform == "cpu")
    held = train.feed if isinstance(placement, Resident) else ()
    return with_process(found, local, _bytes(held) * local) if platform == "cpu" else found


def _bytes(feed: Any) -> int:
    """What the training set takes on a device; it lies there already."""
    return bytes_on_a_device(feed[0]) if feed else 0


def _advice(variant: Variant, trusted: Trust, dataset: Dataset, target: Target) -> Advice | None:
    if target.devices[0].platform != "cpu" and target.hardware.chip.platform == "cpu":
        return None  # a device that is in no table
    try:
        return Planner(variant, trusted, dataset, target).advised().advice
    except ConfigError:
        return None


def _text(found: Memory, told: str) -> str:
    text = f"does not fit: {found.missing / 1e9:.2f} GB are missing on each device ({found.peak / 1e9:.2f} GB of "
    text += f"{found.capacity / 1e9:.2f} GB, {found.of}, in {found.during})"
    return f"{text}\n  {told}\n  to start all the same: plan.check=off"


def _command(target: Target, typed: Sequence[str]) -> str:
    """What to type for advice: the plan of the same run, on hardware that isn't shared out to processes."""
    kept = [text for text in typed if not key_of(text).startswith(("run_dir", "distributed.", "mesh.simulate"))]
    known = target.hardware.chip.memory or target.devices[0].platform == "cpu"
    named = [f"hardware={target.hardware.name}"] if known else []
    return f"for the cheapest change: {shlex.join(['bigtrain', 'plan', *kept, *named])}"
