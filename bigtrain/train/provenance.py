"""What a state came from: the config, the code, the data, the versions, and the devices that computed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bigtrain.data.fingerprint import Fingerprint
from bigtrain.parallel import distributed
from bigtrain.run.code import sources_hash
from bigtrain.run.directory import EXTENDABLE
from bigtrain.train.prepare import Prepared

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
        "processes": distributed.current().count,
    }


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of what a config trains: without how long, where, and on how many devices."""
    trained = {name: value for name, value in config.items() if name not in EXTENDABLE}
    return hashlib.sha256(json.dumps(trained, sort_keys=True, default=str).encode()).hexdigest()
