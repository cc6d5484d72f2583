"""How long training is blocked by a save, and how long the save takes in the background.

    python scripts/bench_checkpoint.py [--megabytes 500] [--saves 5] [--before 2] [--processes 1]

The state is one of random numbers, as `Save` gets it: the check that it is finite, the copy on the host, and the start
of a thread are what training waits for. While the rest is written, the state is computed anew in the same memory, so
both want the processor. Of what training waits for, `cpu_ms` is how long the process was at work, `kernel_ms` how long
the system was for it, and `page_faults` how often for new memory: on a busy machine the wait for the processor is the
larger part. Before the first save the state is advanced for two seconds, while room is made for the copies
(`room_made_s`). Of several processes on this host, each holds its part of every array, as with FSDP. Prints one JSON
object, with the numbers of process 0, and `blocked_ms_of_each`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench.arguments import count
from jax.sharding import NamedSharding, PartitionSpec

from bigtrain.checkpoint import Checkpoints
from bigtrain.cli.launch import free_port
from bigtrain.config.schema import CheckpointConfig, DistributedConfig
from bigtrain.data.fingerprint import fingerprint
from bigtrain.parallel import allocator, distributed
from bigtrain.train.hooks import is_finite


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=count, default=500)
    parser.add_argument("--saves", type=count, default=5)
    parser.add_argument("--before", type=float, default=2.0, help="seconds of training before the first save")
    parser.add_argument("--processes", type=count, default=1)
    given = parser.parse_args()
    if given.processes > 1 and "BIGTRAIN_PROCESS" not in os.environ:
        sys.exit(together(given.processes))
    allocator.settle()
    peers = distributed.start(DistributedConfig())
    with tempfile.TemporaryDirectory() as folder:
        found = measured(given, Path(peers.shared("folder", lambda: folder)))
    if peers.leader:
        print(json.dumps(found))
    distributed.leave(0)


def together(processes: int) -> int:
    """Starts this script in several processes, and returns the exit code of the first that failed."""
    where = {"BIGTRAIN_COORDINATOR": f"127.0.0.1:{free_port()}", "BIGTRAIN_PROCESSES": str(processes)}
    started = [
        subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, **where, "BIGTRAIN_PROCESS": str(index)})
        for index in range(processes)
    ]
    return next((code for code in [process.wait() for process in started] if code), 0)


def measured(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The numbers of all saves; several processes make them together."""
    peers = distributed.current()
    state = made(given.megabytes)
    advance = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 1.0001, tree), donate_argnums=0)
    assert is_finite(state)  # as training asks after each dispatch: it isn't compiled by the first save
    checkpoints = Checkpoints(folder, CheckpointConfig(keep=1, best=False))
    ready = expected(checkpoints, state)
    state = busy(advance, state, seconds=given.before)
    saves = []
    for step in range(1, given.saves + 1):
        state = jax.block_until_ready(advance(state))
        peers.barrier("save")  # as a step of FSDP is one
        started, found = time.perf_counter(), saved(checkpoints, step, state)
        state = busy(advance, state, seconds=0.5)
        checkpoints.wait()
        saves.append({**found, "committed_s": round(time.perf_counter() - started, 2)})
    checkpoints.close()
    return {
        "megabytes": given.megabytes,
        "saves": given.saves,
        **{name: [save[name] for save in saves] for name in saves[0]},
        "blocked_ms_median": statistics.median(save["blocked_ms"] for save in saves),
        "blocked_ms_of_each": peers.gathered("blocked", [save["blocked_ms"] for save in saves]),
        "room_made_s": [round(seconds, 2) for seconds in ready],
        "fingerprint_of_200_mb_ms": round(1000 * fingerprinted(), 1) if peers.count == 1 else None,
        "devices": [str(device) for device in jax.devices()],
    }


def expected(checkpoints: Checkpoints, state: Any) -> list[float]:
    """Tells of the saves to come; in the list there will be the seconds until there is room for the copies."""
    took: list[float] = []
    started, before = time.perf_counter(), set(threading.enumerate())
    checkpoints.expect(state)

    def watch(thread: threading.Thread) -> None:
        thread.join()
        took.append(time.perf_counter() - started)

    for thread in {thread for thread in threading.enumerate() if thread.name == "bigtrain-memory"} - before:
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
    """25 arrays of random numbers, each split over the devices of all processes."""
    devices = np.array(jax.devices()) if jax.process_count() > 1 else np.array(jax.devices()[:1])
    size, key = megabytes * 10**6 // 4 // 25 // len(devices) * len(devices), jax.random.key(0)
    split = NamedSharding(jax.sharding.Mesh(devices, ("fsdp",)), PartitionSpec("fsdp"))
    draw = jax.jit(lambda k: jax.random.normal(jax.random.fold_in(key, k), (size,), jnp.float32), out_shardings=split)
    return {f"w{k}": draw(k) for k in range(25)}


def busy(advance: Any, state: Any, seconds: float) -> Any:
    """What training does meanwhile: it reuses the memory of the state that is being saved."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        state = jax.block_until_ready(advance(state))
    return state


def fingerprinted() -> float:
    """Seconds that the fingerprint of 200 MB of images takes, the least of three."""
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
