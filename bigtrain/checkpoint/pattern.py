"""Small states, written in Orbax's layout without Orbax: the files of its first save of such a state are the pattern.

Orbax plans each save anew, in event loops on a dozen threads: 20 ms of Python for a state of a megabyte, whatever is in
it. What it writes beside the values depends on the tree, the dtypes and the shapes alone. So later states of that kind
get the same files, with their own values; Orbax restores them as its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

MOST_BYTES = 1 << 26  # of a state; writing a larger one takes longer than planning it
MOST_KINDS = 64  # that are kept

_FACTS, _TREE, _COMMIT = "_CHECKPOINT_METADATA", "_METADATA", "commit_success.txt"
_STORES = {"manifest.ocdbt", "d", "ocdbt.process_0"}


@dataclass(frozen=True)
class Pattern:
    """What Orbax writes for every state of one kind.

    Args:
        tree: its description of the tree.
        facts: what it says of the checkpoint, with the times of the first one.
        arrays: of each leaf, in the order of the tree, the path in the store and the description of the array.
        commits: whether it leaves a file that says that all was written.
    """

    tree: bytes
    facts: Mapping[str, Any]
    arrays: tuple[tuple[str, Mapping[str, Any]], ...]
    commits: bool

    def write(self, folder: Path, state: Any) -> None:
        """Writes a state of this kind on the host into a new folder; its files are to be synced by the caller."""
        import tensorstore

        begun = time.time_ns()
        folder.mkdir()
        context = tensorstore.Context({"file_io_sync": False})
        stored: Any = {"driver": "ocdbt", "base": f"file://{folder}/"}
        transaction = tensorstore.Transaction(atomic=True)  # one file of values
        store = tensorstore.KvStore.open(stored, context=context).result().with_transaction(transaction)
        for (path, described), leaf in zip(self.arrays, jax.tree.leaves(state), strict=True):
            store[f"{path}/.zarray"] = json.dumps(described).encode()
            store[f"{path}/{'.'.join('0' * max(1, leaf.ndim))}"] = leaf.tobytes()
        transaction.commit_async().result()
        (folder / _TREE).write_bytes(self.tree)
        if self.commits:
            (folder / _COMMIT).write_text(f"Checkpoint commit was successful to {folder}", encoding="utf-8")
        times = {"init_timestamp_nsecs": begun, "commit_timestamp_nsecs": time.time_ns()}
        (folder / _FACTS).write_text(json.dumps({**self.facts, **times}), encoding="utf-8")


_KNOWN: dict[str, Pattern | None] = {}


def known(state: Any) -> Pattern | None:
    """The pattern of a state, where Orbax has saved one like it in this process."""
    return _KNOWN.get(_kind(state))


def learn(folder: Path, state: Any) -> None:
    """Takes what Orbax has written for a state on the host as the pattern of its kind, if it can be one."""
    kind = _kind(state)
    if kind not in _KNOWN and len(_KNOWN) < MOST_KINDS:
        _KNOWN[kind] = _read(folder, state)


def _kind(state: Any) -> str:
    leaves, tree = jax.tree.flatten(state)
    return f"{tree} {[(str(leaf.dtype), leaf.shape) for leaf in leaves]}"


def _read(folder: Path, state: Any) -> Pattern | None:
    """The pattern; None for a state that is too large, or that Orbax lays out in another way."""
    import tensorstore

    from bigtrain.checkpoint.leaves import stored_path

    paths = jax.tree_util.tree_leaves_with_path(state)
    large = sum(leaf.nbytes for _, leaf in paths) > MOST_BYTES
    names = {entry.name for entry in folder.iterdir()}
    if large or not {_FACTS, _TREE} <= names or not names <= {_FACTS, _TREE, _COMMIT, *_STORES}:
        return None
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/"}).result()
    stored = {key.decode() for key in store.list().result()}
    arrays, foreseen = [], set()
    for path, leaf in paths:
        name, piece = stored_path(path), ".".join("0" * max(1, leaf.ndim))
        foreseen |= {f"{name}/.zarray", f"{name}/{piece}"}
        if f"{name}/.zarray" not in stored:
            return None
        described = {**json.loads(store[f"{name}/.zarray"]), "compressor": None}
        whole = described["shape"] == described["chunks"] == list(leaf.shape) and leaf.size > 0
        if not whole or described["order"] != "C" or described["filters"] or not leaf.dtype.isnative:
            return None
        arrays.append((name, described))
    if stored != foreseen:
        return None
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    return Pattern((folder / _TREE).read_bytes(), facts, tuple(arrays), _COMMIT in names)
