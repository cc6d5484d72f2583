"""bigtrain through `prepare` and `fit`, as `bigtrain fit` calls them, with metrics, loggers, progress and checkpoints.

The clock runs while the training loop does. Evaluation is left out, since no other side evaluates. A window of a few
seconds holds more saves than its share, at least the one at the end: they are timed by themselves and charged as often
as a run of the real length has them, which is every 10%, at least a second apart, and at its end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from write_array_record import write

from bench.catalog import Workload
from bigtrain.cli.fit import understood
from bigtrain.config.compose import to_yaml
from bigtrain.data.arrays import Arrays
from bigtrain.data.load import load_data
from bigtrain.data.serialize import spec_to_json
from bigtrain.data.spec import Dataset
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.tracking.console import Console
from bigtrain.train import fit as fitting
from bigtrain.train import hooks
from bigtrain.train.prepare import prepare


class Trainer:
    """See `bench.worker.Trainer`."""

    def __init__(self, workload: Workload, data: Path, options: dict[str, Any]) -> None:
        self.workload = workload
        kind, path = ("array_record", records(data)) if options.get("records") else ("npz", data)
        read = [f"data={kind}", f"data.path={path}"]
        given = [*workload.overrides, f"batch_size={workload.batch}", *options.get("overrides", ())]
        self.given = [*read, "optimizer=adam", f"steps={workload.run_steps}", *given]
        self.composed, self.checked, self.trusted = understood([*self.given, "run_dir=unused"], None, [])
        dataset = load_data(self.checked, self.trusted)
        self.ready = prepare(self.checked, self.trusted, mapped(dataset, data) if options.get("mapped") else dataset)
        self.breakdown: dict[str, float] = {}

    def facts(self) -> dict[str, Any]:
        """See `bench.worker.Trainer`."""
        placement = type(self.ready.placement).__name__.lower()
        count = sum(leaf.size for leaf in jax.tree.leaves(self.ready.program.abstract.params))
        return {
            "parameters": count, "jax": jax.__version__, "device": jax.devices()[0].device_kind,
            "config": " ".join(self.given),
            "placement": f"{placement} ({self.ready.placement_reason})",
            "steps_per_dispatch": self.ready.placement.capacity,
            "compile_seconds": round(self.ready.compile_seconds, 2), **self.breakdown,
        }  # fmt: skip

    def _fit(self, steps: int, log_every: int) -> tuple[float, float]:
        """Seconds of a run of `steps`, and the last training loss that was logged."""
        cadence = max(1, self.workload.run_steps // 10)
        lengths = dataclasses.replace(
            self.ready.lengths, steps=steps, log_every=log_every, eval_every=steps, save_every=cadence
        )
        values = {**self.ready.values, "total_steps": float(steps)}
        ready = dataclasses.replace(self.ready, lengths=lengths, values=values)
        with tempfile.TemporaryDirectory() as name, watched() as loop:
            folder = Path(name) / "run"
            directory = RunDirectory.create(folder, to_yaml(self.composed.written), self.given)
            fitting.fit(ready, self.checked, self.trusted, directory, Console(quiet=True), Clock())
            lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        loss = [line["train/loss"] for line in lines if "train/loss" in line][-1]
        self.breakdown = {name: round(seconds, 4) for name, seconds in loop.spent.items()} | {"saves": len(loop.saved)}
        save = loop.spent.get("checkpoint", 0.0) / max(1, len(loop.saved))
        apart = max(cadence, self.ready.lengths.save_apart * steps / loop.training())  # in steps
        return loop.training() + save * (steps / apart + steps / self.workload.run_steps), loss

    def loss(self, steps: int, tail: int) -> float:
        """See `bench.worker.Trainer`."""
        return self._fit(steps, tail)[1]

    def warm(self) -> float:
        """A run long enough for dispatches to reach their length, after one that loads the program."""
        steps = 4
        self.run(steps)
        while True:
            seconds, _ = self.run(steps)
            if seconds > 0.5 or steps > 4 * self.workload.run_steps:
                return seconds / steps
            steps *= 4

    def run(self, steps: int) -> tuple[float, int]:
        """See `bench.worker.Trainer`; log lines come as often as in a run of the real length."""
        return self._fit(steps, max(1, self.workload.run_steps // 100))[0], steps

    def epochs(self, number: int) -> None:
        """Not used: the command line itself is measured."""
        raise NotImplementedError


def mapped(dataset: Dataset, folder: Path) -> Dataset:
    """The training split read from the files as it is needed; data=npz does so by itself above 1 GiB."""
    names = {"inputs": "x", "targets": "y"}
    columns = {key: np.load(folder / f"{names[key]}_train.npy", mmap_mode="r") for key in dataset.spec.fields}
    return dataclasses.replace(dataset, splits={**dataset.splits, "train": Arrays(columns)})


def records(folder: Path) -> Path:
    """The same examples as ArrayRecord shards, written once."""
    made = folder / "records"
    if not made.exists():
        _, checked, trusted = understood(["data=npz", f"data.path={folder}", "run_dir=unused"], None, [])
        dataset, partial = load_data(checked, trusted), folder / "records.partial"
        partial.mkdir(exist_ok=True)
        for split, source in dataset.splits.items():
            write(partial, split, source, dataset.spec, shards=4)
        (partial / "spec.json").write_text(spec_to_json(dataset.spec), encoding="utf-8")
        partial.rename(made)
    return made


@dataclasses.dataclass
class Loop:
    """What the training loop spent by part, and the steps that were saved (the best may be saved before the newest)."""

    spent: dict[str, float] = dataclasses.field(default_factory=dict)
    saved: set[int] = dataclasses.field(default_factory=set)

    def training(self) -> float:
        """Seconds of the loop without evaluation and saves."""
        return sum(self.spent.get(name, 0.0) for name in ("step", "data wait", "logging"))


@contextlib.contextmanager
def watched() -> Iterator[Loop]:
    """Keeps what bigtrain's own clock says of the training loop of the `fit` inside; draws no samples."""
    loop = Loop()

    def saving(self: Any, step: int, state: Any) -> None:
        loop.saved.add(step)
        save(self, step, state)

    def training(*args: Any, clock: Clock, **keywords: Any) -> Any:
        before = clock.spent()
        state = train(*args, clock=clock, **keywords)
        loop.spent = {name: seconds - before.get(name, 0.0) for name, seconds in clock.spent().items()}
        return state

    train, save, shown = fitting.train, hooks.Save.save, fitting.shown
    fitting.train, hooks.Save.save, fitting.shown = training, saving, lambda *_: None
    try:
        yield loop
    finally:
        fitting.train, hooks.Save.save, fitting.shown = train, save, shown
