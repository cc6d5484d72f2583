"""A state leaf by leaf: its copy on the host, the hash of each leaf and of all, and how two states differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from bigtrain.checkpoint.memory import HostMemory

SHOWN = 12  # differences that a message lists

Described = dict[str, list[Any]]
"""Each leaf's name with [dtype, shape, SHA-256 of its bytes]; the hash is null where no process holds it whole."""


def named(state: Any) -> dict[str, Any]:
    """The leaves by their path, in the order of the tree."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def size(state: Any) -> int:
    """Bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def on_host(state: Any, memory: HostMemory) -> Any:
    """A copy of a state as NumPy arrays; blocks for that long, and the state may be reused afterwards.

    Shard by shard: `numpy.asarray` of a whole array keeps a view in it, and memory that is looked at is not donated.

    Args:
        state: a pytree of arrays that this process holds whole.
        memory: where the copy is, until its next one.
    """
    leaves, tree = jax.tree.flatten(state)
    copies, pieces = memory.arrays(leaves), []
    for leaf, copy in zip(leaves, copies, strict=True):
        shards = [shard for shard in leaf.addressable_shards if shard.replica_id == 0]
        pieces += [(copy, shard.index, shard.data) for shard in shards]
    for _, _, data in pieces:
        data.copy_to_host_async()
    for copy, index, data in pieces:
        copy[index] = np.asarray(data)  # blocks on the device
    return jax.tree.unflatten(tree, copies)


def parts(state: Any) -> list[jax.ShapeDtypeStruct]:
    """What this process holds of a state that several hold, as shapes: the parts of each leaf that differ."""
    return [
        jax.ShapeDtypeStruct(leaf.sharding.shard_shape(leaf.shape), leaf.dtype)
        for leaf in jax.tree.leaves(state)
        for _ in set(map(str, leaf.sharding.addressable_devices_indices_map(leaf.shape).values()))
    ]


def beside(state: Any, memory: HostMemory) -> Any:
    """A copy of a state that several processes hold, as arrays of the same shardings on their CPUs.

    Blocks for that long, and the state may be reused afterwards.

    Args:
        state: a pytree of arrays on CPUs.
        memory: where the copies of this process's `parts` are, until the next ones.
    """
    leaves, tree = jax.tree.flatten(state)
    rooms, copies = iter(memory.arrays(parts(state))), []
    for leaf in leaves:
        copied: dict[str, np.ndarray] = {}  # by the place in the leaf: devices that hold the same share it
        pieces = []
        for shard in leaf.addressable_shards:
            if (place := str(shard.index)) not in copied:
                copied[place] = next(rooms)
                copied[place][...] = np.asarray(shard.data)  # blocks on the device
            pieces.append(jax.device_put(copied[place], shard.data.device))  # which is looked at in place
        copies.append(jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, pieces))
    return jax.tree.unflatten(tree, copies)


def describe(state: Any) -> Described:
    """What a state is, bit by bit; a leaf that is spread over processes has no hash."""
    return {name: [str(leaf.dtype), list(leaf.shape), _hash(leaf)] for name, leaf in named(state).items()}


def describe_together(state: Any) -> Described:
    """The same of a state that is on no disk, with the hash of each leaf; of several processes, all take part.

    A leaf that is spread over them is brought together on every device, one at a time.
    """
    found: Described = {}
    for name, leaf in named(state).items():
        whole = leaf
        if not (leaf.is_fully_replicated or leaf.is_fully_addressable):
            whole = jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))
        found[name] = [str(leaf.dtype), list(leaf.shape), _hash(whole)]
    return found


def completed(described: Described, state: Any, arrays: Path) -> Described:
    """The same with the hashes of leaves that are spread over processes, read back one by one from where all wrote."""
    import tensorstore

    found = dict(described)
    for path, _ in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path)
        if found[name][2] is None:
            kvstore = {"driver": "ocdbt", "base": f"file://{arrays.absolute()}/", "path": f"{stored_path(path)}/"}
            array = tensorstore.open({"driver": "zarr", "kvstore": kvstore}, read=True).result().read().result()
            found[name] = [*found[name][:2], _hash(array)]
    return found


def state_hash(leaves: Described) -> str:
    """SHA-256 over the name, dtype, shape and bytes of every leaf."""
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()


def stored_path(path: Sequence[Any]) -> str:
    """Where Orbax stores the leaf with this path in the tree."""
    return ".".join(_key(entry) for entry in path)


def _key(entry: Any) -> str:
    return str(next(getattr(entry, name) for name in ("key", "idx", "name") if hasattr(entry, name)))


def _hash(leaf: Any) -> str | None:
    if isinstance(leaf, jax.Array):
        if leaf.is_fully_replicated:
            leaf = leaf.addressable_shards[0].data
        elif not leaf.is_fully_addressable:
            return None
    array = np.ascontiguousarray(leaf)
    return hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()


def mismatches(there: Mapping[str, list[Any]], abstract: Any) -> list[str]:
    """A line for each leaf that is saved with another dtype or shape than wanted, or is in one of both alone."""
    wanted = {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in named(abstract).items()}
    saved = {name: list(entry[:2]) for name, entry in there.items()}
    names = [name for name in dict.fromkeys([*saved, *wanted]) if saved.get(name) != wanted.get(name)]
    lines = [f"{name}: {_shown(saved.get(name))} there, {_shown(wanted.get(name))} here" for name in names[:SHOWN]]
    return lines + ([f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])


def _shown(entry: list[Any] | None) -> str:
    return "none" if entry is None else f"{entry[0]} {entry[1]}"


def first_difference(one: Mapping[str, list[Any]], other: Mapping[str, list[Any]]) -> str | None:
    """The first leaf in which two states differ; None where they are equal."""
    return next((name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)), None)
