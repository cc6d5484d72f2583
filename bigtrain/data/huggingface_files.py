"""The folder that `save_to_disk` of Hugging Face's `datasets` wrote, looked at before the library reads it.

Its JSON files name the Arrow files to be mapped; the library follows such a name wherever it leads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigtrain.config import untrusted
from bigtrain.config.errors import DataError
from bigtrain.data.bounds import check_tree

SAVED = ("dataset_dict.json", "state.json", "dataset_info.json")


def check_saved(folder: Path) -> None:
    """Refuses a folder that names a file or a split outside of itself, or that holds a link out of it.

    Raises:
        DataError: naming the file and what it names.
    """
    check_tree(folder)
    described = _read(folder / SAVED[0])
    inner = [folder]
    if described is not None:
        splits = described.get("splits") if isinstance(described, dict) else None
        inner = [folder / _plain(folder / SAVED[0], name) for name in (splits if isinstance(splits, list) else [])]
    for part in inner:
        for name in _files(part / SAVED[1]):
            _plain(part / SAVED[1], name)
        _read(part / SAVED[2])


def _files(path: Path) -> Iterator[Any]:
    """The Arrow files that a state.json names."""
    state = _read(path)
    entries = state.get("_data_files") if isinstance(state, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        yield entry.get("filename") if isinstance(entry, dict) else entry


def _read(path: Path) -> Any:
    try:
        return untrusted.read_json(path)
    except FileNotFoundError:
        return None


def _plain(path: Path, name: Any) -> str:
    """A name that stays in its folder."""
    if not isinstance(name, str) or name in ("", ".", "..") or any(sign in name for sign in "/\\:"):
        raise DataError(path, f"names {name!r}, which is no file of its folder")
    return name
