"""Processes that are to be one run were started with one config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bigtrain.config.errors import InputError
from bigtrain.parallel.peers import Alone, Peers

OWN = ("distributed", "run_dir", "plugins", "compilation_cache", "data_workers", "mesh.simulate")
"""Keys in which processes may differ: who and where each is, and how it does the same work."""

SHOWN = 8


def check_alike(peers: Alone | Peers, config: Mapping[str, Any]) -> None:
    """Refuses processes whose configs differ, in every one of them, and says which and where.

    Args:
        peers: the processes.
        config: as written, so that `${oc.env:NAME}` may stand for something else on each host.

    Raises:
        InputError: when they differ.
    """
    ours = entries(config)
    first = peers.shared("config", lambda: ours)
    apart = [
        [key, first.get(key, "nothing"), ours.get(key, "nothing")]
        for key in dict.fromkeys([*first, *ours])
        if first.get(key) != ours.get(key)
    ]
    found = {index: changes for index, changes in enumerate(peers.gathered("config", apart)) if changes}
    if not found:
        return
    index = peers.index if peers.index in found else min(found)
    lines = [f"  {key}: {there} in process 0, {here} in process {index}" for key, there, here in found[index][:SHOWN]]
    more = [f"  and {len(found[index]) - SHOWN} more"] if len(found[index]) > SHOWN else []
    who = f"process {index}" + (f" and {len(found) - 1} more" if len(found) > 1 else "")
    who = "this process" if peers.index == index else f"{who} of {peers.count}"  # worded so that each says it itself
    than = "process 0" if peers.index else "this process"
    problem = f"{who} {'were' if ' more ' in who else 'was'} started with another config than {than}"
    hint = "  start all with the same config; for runs of their own: distributed.num_processes=1"
    raise InputError("\n".join([f"distributed: {problem}", *lines, *more, hint]))


def entries(config: Mapping[str, Any]) -> dict[str, str]:
    """Each dotted path of a config with its value as text, but for what belongs to one process."""
    found = {
        key: text for key, text in _flat(config, "") if not any(key == own or key.startswith(f"{own}.") for own in OWN)
    }
    return found | {"augment": json.dumps(list(config.get("augment") or {}))}  # which are applied in their order


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str)
