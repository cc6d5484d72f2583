"""Which code this is: the version, and a hash of every source file of the package."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import bigtrain


@functools.cache
def sources_hash() -> str:
    """SHA-256 over the names and contents of bigtrain's own Python files."""
    root = Path(bigtrain.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root)} {content}\n".encode())
    return digest.hexdigest()
