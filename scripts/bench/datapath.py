"""What a sample costs on bigtrain's way from memory or disk to the device, without any training."""

from __future__ import annotations

import time
from pathlib import Path

import jax
import numpy as np

from bench.catalog import Workload
from bench.ratios import Spread
from bench.report import table
from bigtrain.cli.fit import understood
from bigtrain.data.arrays import Arrays
from bigtrain.data.load import load_data
from bigtrain.data.placement import Dispatch, Resident, Streamed, choose
from bigtrain.data.sampler import Order
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.rules import Rules

FORMS = ("resident", "streamed", "mapped")


def measure(workload: Workload, data: Path, *, rounds: int, samples: int) -> str:
    """A table of µs a sample: indices of a resident set; gathered from memory; gathered from a mapped file."""
    words = ["data=npz", f"data.path={data}", *workload.overrides, f"batch_size={workload.batch}", "run_dir=unused"]
    _, checked, trusted = understood(words, None, [])
    dataset = load_data(checked, trusted)
    rules = Rules.of(meshes.make(checked.run.mesh), checked.run.mesh)
    memory = dataset.splits["train"]
    mapped = Arrays({
        "inputs": np.load(data / "x_train.npy", mmap_mode="r"), "targets": np.load(data / "y_train.npy", mmap_mode="r")
    })  # fmt: skip
    order = Order(len(memory), workload.batch, 0)
    made = {}
    for form, source in zip(FORMS, (memory, memory, mapped), strict=True):
        how = "resident" if form == "resident" else "stream"
        made[form] = choose(source, dataset.spec, order, rules, placement=how, capacity=None)[0]
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    for number in range(rounds + 1):
        for form in FORMS:
            taken = _microseconds(made[form], workload.batch, samples)
            if number:  # the first one fills caches
                times[form].append(taken)
    rows = []
    for form in FORMS:
        spread = Spread.of(times[form])
        rows.append([form, f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})", str(made[form].capacity)])
    size = dataset.spec.example_bytes
    return table([f"{workload.name}, {size:,} bytes a sample", "µs a sample", "steps a dispatch"], rows)


def _microseconds(placement: Resident | Streamed, batch: int, samples: int) -> float:
    """From the first feed on: what the start of the thread takes is not a sample's."""
    capacity = placement.capacity
    count = max(2, samples // (batch * capacity))
    feeds = placement.feeds(Dispatch(number * capacity, capacity) for number in range(count + 1))
    jax.block_until_ready(next(iter(feeds))[1])
    begun = time.perf_counter()
    for _, feed in feeds:
        jax.block_until_ready(feed)
    return (time.perf_counter() - begun) / (count * batch * capacity) * 1e6
