"""How long training is blocked by a save, and how long the save takes in the background.

    python scripts/bench_checkpoint.py [--megabytes 500] [--saves 5] [--before 2]

The state is one of random numbers, as `Save` gets it: the check that it is finite, the copy on the host, and the start
of a thread are what training waits for. While the rest is written, the state is computed anew in the same memory, so
both want the processor. Of what training waits for, `cpu_ms` is how long the process was at work, `kernel_ms` how long
the system was for it, and `page_faults` how often for new memory: on a busy machine the wait for the processor is the
larger part. Before the first save the state is advanced for two seconds, while room is made for the copies
(`room_made_s`). Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import threading
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
    parser.add_argument("--before", type=float, default=2.0, help="seconds of training before the first save")
    given = parser.parse_args()
    allocator.keep_freed_memory()
    state = made(given.megabytes)
    advance = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 1.0001, tree), donate_argnums=0)
    assert is_finite(state)  # as training asks after each dispatch: it isn't compiled by the first save
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), CheckpointConfig(keep=1, best=False))
        ready = expected(checkpoints, state)
        state = busy(advance, state, seconds=given.before)
        saves = []
        for step in range(1, given.saves + 1):
            state = jax.block_until_ready(advance(state))
            started, found = time.perf_counter(), saved(checkpoints, step, state)
            state = busy(advance, state, seconds=0.5)
            checkpoints.wait()
            saves.append({**found, "committed_s": round(time.perf_counter() - started, 2)})
        checkpoints.close()
    found = {
        "megabytes": given.megabytes,
        "saves": given.saves,
        **{name: [save[name] for save in saves] for name in saves[0]},
        "blocked_ms_median": statistics.median(save["blocked_ms"] for save in saves),
        "room_made_s": [round(seconds, 2) for seconds in ready],
        "fingerprint_of_200_mb_ms": round(1000 * fingerprinted(), 1),
        "devices": [str(device) for device in jax.devices()],
    }
    print(json.dumps(found))


def expected(checkpoints: Checkpoints, state: Any) -> list[float]:
    """Tells of the saves to come; in the list there will be the seconds until there is room for the copies."""
    took: list[float] = []
    started, before = time.perf_counter(), set(threading.enumerate())
    checkpoints.expect(state)

    def watch(thread: threading.Thread) -> None:
        thread.join()
        took.append(time.perf_counter() - started)

    for thread in set(threading.enumerate()) - before:
        threading.Thread(target=watch, args=(thread,), daemon=True).start()
    return took


def saved(checkpoints: Checkpoints, step: int, state: Any) -> dict[str, Any]:
    """One save, as far as training waits for it."""
    before, started, worked = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter(), time.process_time()
    assert is_finite(state)
    checked = time.perf_counter()
    checkpoints.save(step, state, {})
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    return {
        "blocked_ms": round(1000 * (ended - started)),
        "of_which_the_check_ms": round(1000 * (checked - started)),
        "cpu_ms": round(1000 * (time.process_time() - worked)),
        "kernel_ms": round(1000 * (after.ru_stime - before.ru_stime)),
        "page_faults": after.ru_minflt - before.ru_minflt,
    }


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
