"""How long a step takes at least: by computation, by memory traffic, and by each axis of the network.

The model of a ring: n devices that reduce and gather N bytes each send 2·N·(n - 1)/n, half of it to gather or to
reduce-scatter alone (Thakur et al. 2005; Patarasuk & Yuan 2009). With perfect overlap the slowest of the three decides
(Williams et al. 2009, "Roofline"); with none, their sum. Latencies are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigtrain.plan.collectives import Collective, inside

SENT = {  # of an array of 1 byte over n devices: what each sends
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}


@dataclass(frozen=True)
class Speeds:
    """What the devices can do: operations a second of all together, bytes a second of each."""

    flops: float
    memory: float
    link: float  # inside a slice or node
    network: float  # between them
    source: str


@dataclass(frozen=True)
class Roofline:
    """The least seconds of a step that each resource takes."""

    compute: float
    memory: float
    network: Mapping[str, float]  # by axis
    mfu_bound: float  # the largest share of the peak that useful operations can reach

    @property
    def seconds(self) -> float:
        """If everything overlaps."""
        return max(self.compute, self.memory, sum(self.network.values()))

    @property
    def serial_seconds(self) -> float:
        """If nothing overlaps."""
        return self.compute + self.memory + sum(self.network.values())

    @property
    def bound(self) -> str:
        """What decides: compute, memory or network."""
        parts = {"compute": self.compute, "memory": self.memory, "network": sum(self.network.values())}
        return max(parts, key=lambda name: parts[name])


def roofline(
    useful: float, done: float, traffic: float, sent: Sequence[Collective], granules: Sequence[int], speeds: Speeds
) -> Roofline:
    """The roofline of a step.

    Args:
        useful: operations of a step on all devices, without what is computed twice.
        done: with it.
        traffic: bytes that each device reads and writes.
        sent: collectives.
        granules: the slice or node of each device.
        speeds: of the devices.
    """
    network: dict[str, float] = {}
    for entry in sent:
        network[entry.axis] = network.get(entry.axis, 0.0) + seconds(entry, granules, speeds)
    compute, memory = done / speeds.flops, traffic / speeds.memory
    longest = max(compute, memory, sum(network.values()))
    return Roofline(compute, memory, network, useful / (speeds.flops * longest) if longest else 0.0)


def seconds(sent: Collective, granules: Sequence[int], speeds: Speeds) -> float:
    """What the collectives of one kind over one axis take, one after the other.

    Across slices or nodes each member has a network adapter of its own, and as many rings run side by side as a node
    has members.
    """
    within, beside = inside(sent.groups, granules)
    speed = speeds.link if within else min(speeds.link, speeds.network * beside)
    return sent.bytes * SENT[sent.kind](sent.members) / speed


def traffic(products: float, passes: int, kept: Traffic, devices: int, tensor: int) -> float:
    """Bytes that each device reads and writes in a step.

    Matrix products read their operands and write their results once; each device computes with whole weights, but for
    what tensor axes split; the update reads state and gradients and writes the state.

    Args:
        products: bytes of all matrix products together, as `flops.bytes_of` counts.
        passes: how often a step reads the weights.
        kept: bytes of weights as computed with, and of the state and gradients on each device.
        devices: how many.
        tensor: over how many of them the computation of a layer is split.
    """
    shared = products / devices
    again = passes * kept.weights / tensor * (1 - tensor / devices)
    return shared + again + 2 * kept.state + 2 * kept.gradients


@dataclass(frozen=True)
class Traffic:
    """What the update and the weights of a step come to, in bytes."""

    weights: int
    state: int
    gradients: int
