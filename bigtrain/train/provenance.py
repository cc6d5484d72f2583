"""What a state came from: the config, the code, the data, the versions, and the devices that computed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from bigtrain.data.fingerprint import Fingerprint
from bigtrain.parallel import distributed
from bigtrain.run.code import sources_hash
from bigtrain.run.directory import EXTENDABLE
from bigtrain.train.prepare import Prepared
from bigtrain.train.resume import Start

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")


def provenance(
    ready: Prepared, config: Mapping[str, Any], environment: Mapping[str, Any], data: Fingerprint
) -> dict[str, Any]:
    """As it stands in a checkpoint, and in a receipt.

    Args:
        ready: the compiled run.
        config: as the run directory has it.
        environment: as `bigtrain.run.environment.describe` gives it.
        data: the fingerprint of the data.
    """
    return {
        "config": config_hash(config),
        "steps": ready.lengths.steps,
        "code": {
            "bigtrain": environment["bigtrain"],
            "commit": environment["git_commit"],
            "sources": sources_hash(),
        },
        "data": data,
        "versions": {"python": environment["python"]}
        | {name: found for name, found in environment["packages"].items() if name in PACKAGES},
        "mesh": {name: int(size) for name, size in ready.rules.mesh.shape.items() if size > 1},
        "devices": environment["devices"],
        "settings": environment["settings"],
        "processes": distributed.current().count,
        "members": ready.members,
    }


def tell_changes(start: Start, made: Mapping[str, Any], say: Callable[..., None]) -> None:
    """Says what a run goes on with that is not what computed its checkpoint: it may have other numbers from here on."""
    try:
        before, now = _deciding(start.made), _deciding(made)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ):  # a fresh run, or a checkpoint that says it in another way
        return
    changed = sorted(f"{name} {before[name]} → {now[name]}" for name in before if before[name] != now.get(name))
    if changed:
        text = f"note: not as it was up to step {start.step:,}: {', '.join(changed)}"
        say(f"{text}; the bits may differ from those of a run without a break", style="yellow")


def _deciding(made: Mapping[str, Any]) -> dict[str, str]:
    """By name, what decides about the bits that the same config and data give."""
    devices, *others = made["devices"]
    return {
        **made["versions"],
        **made.get("settings", {}),  # not in checkpoints of before
        "sources of bigtrain": made["code"]["sources"][:12],
        "devices": f"{1 + len(others)} of {devices}",
        "mesh": " ".join(f"{axis}={size}" for axis, size in made["mesh"].items()) or "of one",
    }


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of what a config trains: without how long, where, and on how many devices."""
    trained = {name: value for name, value in config.items() if name not in EXTENDABLE}
    return hashlib.sha256(json.dumps(trained, sort_keys=True, default=str).encode()).hexdigest()
