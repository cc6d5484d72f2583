"""A program that does nothing but save: it says when a save begins and when it is acknowledged.

    python tests/faults/saves.py FOLDER PHASES STEPS MEGABYTES

Appends `saving N` and `saved N` to the file PHASES. What it saves at step N is a function of N: `state(N)`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def state(step: int, megabytes: float) -> dict[str, Any]:
    """Eight arrays that no compression shrinks, and the step."""
    import jax.numpy as jnp
    import numpy as np

    random, size = np.random.default_rng(step), int(megabytes * (1 << 20) / 4 / 8)
    return {"step": jnp.int32(step)} | {f"w{k}": jnp.asarray(random.random(size, np.float32)) for k in range(8)}


def main(arguments: list[str]) -> None:
    folder, phases, steps, megabytes = Path(arguments[0]), arguments[1], int(arguments[2]), float(arguments[3])
    from bigtrain.checkpoint import Checkpoints
    from bigtrain.config.schema import CheckpointConfig

    said = os.open(phases, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    checkpoints = Checkpoints(folder, CheckpointConfig(keep=2, best=False))
    first = max(checkpoints.complete(), default=0) + 1
    for step in range(first, first + steps):
        made = state(step, megabytes)
        os.write(said, f"saving {step}\n".encode())
        checkpoints.save(step, made, {"scores": None})
        checkpoints.wait()
        os.write(said, f"saved {step}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
