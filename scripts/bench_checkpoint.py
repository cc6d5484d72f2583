"""How long training is blocked by a save, and how long the save takes in the background.

    python scripts/bench_checkpoint.py [--megabytes 500] [--saves 5]

The state is one of random numbers, as `Save` gets it: the check that it is finite, the copy on the host, and the start
of a thread are what training waits for. While the rest is written, the state is computed anew in the same memory, so
both want the processor. `cpu_ms` is how long the process was at work meanwhile: on a busy machine the wait for the
processor is the larger part. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.schema import CheckpointConfig
from bigtrain.data.fingerprint import fingerprint
from bigtrain.parallel import allocator
from bigtrain.train.hooks import is_finite


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--saves", type=int, default=5)
    given = parser.parse_args()
    allocator.keep_freed_memory()
    state = made(given.megabytes)
    advance = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 1.0001, tree), donate_argnums=0)
    blocked: list[float] = []
    whole: list[float] = []
    parts: list[float] = []
    cpu: list[float] = []
    assert is_finite(state)  # as training asks after each dispatch: it isn't compiled by the first save
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), CheckpointConfig(keep=1, best=False))
        for step in range(1, given.saves + 1):
            state = jax.block_until_ready(advance(state))
            started = time.perf_counter()
            worked = time.process_time()
            assert is_finite(state)
            parts.append(time.perf_counter() - started)
            checkpoints.save(step, state, {})
            blocked.append(time.perf_counter() - started)
            cpu.append(time.process_time() - worked)
            state = busy(advance, state, seconds=0.5)
            checkpoints.wait()
            whole.append(time.perf_counter() - started)
        checkpoints.close()
    found = {
        "megabytes": given.megabytes,
        "saves": given.saves,
        "blocked_ms": [round(1000 * seconds) for seconds in blocked],
        "blocked_ms_median": round(1000 * statistics.median(blocked)),
        "cpu_ms": [round(1000 * seconds) for seconds in cpu],
        "of_which_the_check_ms": [round(1000 * seconds) for seconds in parts],
        "committed_s": [round(seconds, 2) for seconds in whole],
        "fingerprint_of_200_mb_ms": round(1000 * fingerprinted(), 1),
        "devices": [str(device) for device in jax.devices()],
    }
    print(json.dumps(found))


def made(megabytes: int) -> dict[str, Any]:
    """25 arrays of random numbers."""
    size, key = megabytes * 10**6 // 4 // 25, jax.random.key(0)
    return {f"w{k}": jax.random.normal(jax.random.fold_in(key, k), (size,), jnp.float32) for k in range(25)}


def busy(advance: Any, state: Any, seconds: float) -> Any:
    """What training does meanwhile: it reuses the memory of the state that is being saved."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        state = jax.block_until_ready(advance(state))
    return state


def fingerprinted() -> float:
    """Seconds that the fingerprint of 200 MB of images takes, the least of three."""
    import numpy as np

    from bigtrain.data.arrays import Arrays, dataset
    from bigtrain.data.spec import Field

    images = np.random.default_rng(0).integers(0, 256, (255_000, 28, 28), np.uint8)
    columns = {"inputs": images, "targets": (np.arange(len(images)) % 10).astype(np.int32)}
    fields = {"inputs": Field((28, 28), "uint8", "features"), "targets": Field((), "int32", "label")}
    whole = dataset("images", fields, {"train": Arrays(columns)}, classes=tuple("0123456789"))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        fingerprint(whole)
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    main()
