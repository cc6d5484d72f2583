"""Runs of the real thing, small enough for tests."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bigtrain.checkpoint import Checkpoints
from bigtrain.cli.fit import understood
from bigtrain.config.check import Checked
from bigtrain.config.compose import to_yaml
from bigtrain.config.trust import Trust
from bigtrain.data.load import load_data
from bigtrain.data.placement import choose
from bigtrain.parallel import mesh
from bigtrain.parallel.arrays import put
from bigtrain.parallel.rules import Rules
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.tracking.console import Console
from bigtrain.train import interrupt
from bigtrain.train.fit import begin, fit
from bigtrain.train.lower import Lowered
from bigtrain.train.prepare import Prepared, feed_settings, outline, prepare
from bigtrain.train.program import typed_number
from bigtrain.train.state import TrainState

_LAST: dict[tuple[str, ...], Prepared] = {}
"""What was trained last, by its overrides: its program need not be made again to read what it saved."""


def prepared(*overrides: str) -> tuple[Prepared, Checked, Trust]:
    """A compiled run."""
    _, checked, trusted = understood(list(overrides), None, [])
    return prepare(checked, trusted, load_data(checked, trusted)), checked, trusted


def lowered(*overrides: str) -> tuple[Lowered, dict[str, float]]:
    """The program of a run before it is compiled, and the values of its numbers."""
    _, checked, trusted = understood(list(overrides), None, [])
    dataset, rules = load_data(checked, trusted), Rules.of(mesh.make(checked.run.mesh), checked.run.mesh)
    made = outline(checked, trusted, dataset, rules)
    how = feed_settings(checked.run, made.lengths.steps)
    placement, _ = choose(dataset.splits["train"], dataset.spec, made.order, rules, **how)
    return made.lowered((placement.abstract(), placement.capacity)), made.values


def fresh(*overrides: str) -> TrainState:
    """The state of a run before its first step."""
    return begun(*lowered(*overrides))


def begun(program: Lowered, values: dict[str, float]) -> TrainState:
    """The state before the first step; nothing but what makes it is compiled."""
    numbers = {name: put(typed_number(name, value), program.rules.sharding()) for name, value in values.items()}
    state: TrainState = program.parts["init"].compile(program.options["init"])(numbers)
    return state


def run_fit(run_dir: Path, *overrides: str) -> dict[str, Any]:
    """`bigtrain fit` in this process; an existing run is continued. Returns the result."""
    return fitted(run_dir, *overrides)[1]


def fitted(run_dir: Path, *overrides: str) -> tuple[Prepared, dict[str, Any]]:
    """The same; also the compiled run."""
    given = [*overrides, f"run_dir={run_dir}"]
    composed, checked, trusted = understood(given, None, [])
    ready = prepare(checked, trusted, load_data(checked, trusted))
    _LAST.clear()
    _LAST[overrides] = ready
    if RunDirectory.exists(run_dir):
        directory = RunDirectory(run_dir)
        directory.check_same(composed.written)
    else:
        directory = RunDirectory.create(run_dir, to_yaml(composed.written), given)
    return ready, fit(ready, checked, trusted, directory, Console(quiet=True), Clock())


@contextlib.contextmanager
def interrupted_at(monkeypatch: Any, step: int) -> Iterator[None]:
    """Makes the run inside believe that a SIGTERM arrived while it was on its way to `step`."""
    calls = {"steps": 0}

    def requested(self: interrupt.Requests) -> int | None:
        calls["steps"] += 1
        return 15 if calls["steps"] >= step else None

    with monkeypatch.context() as patch:
        patch.setattr(interrupt.Requests, "__call__", requested)
        yield


def final_state(run_dir: Path, *overrides: str) -> TrainState:
    """The newest checkpoint of a run, restored into the shapes of its own program."""
    ready = _LAST.get(overrides) or prepared(*overrides)[0]
    checkpoints = Checkpoints(run_dir / "checkpoints", ready.run.checkpoint)
    start = begin(ready, checkpoints, ready.program.numbers(ready.values))
    checkpoints.close()
    return start.state


def state_hash(state: Any) -> str:
    """SHA-256 over every leaf of a state: its path, type, shape and bytes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def metrics_of(run_dir: Path) -> list[dict[str, float]]:
    """The metric lines of a run without what the clock decides."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "examples_per_second"} for line in lines]


def losses_of(run_dir: Path) -> np.ndarray:
    """The training loss of each logged step."""
    return np.array([line["train/loss"] for line in metrics_of(run_dir) if "train/loss" in line])


def write_idx(folder: Path, *, train: int = 40, test: int = 12, side: int = 6, classes: int = 4) -> Path:
    """A small MNIST-like folder of IDX files."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, number in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (number, side, side), np.uint8)
        labels = (np.arange(number) % classes).astype(np.uint8)
        header = b"\x00\x00\x08\x03" + np.array([number, side, side], ">i4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            b"\x00\x00\x08\x01" + np.array([number], ">i4").tobytes() + labels.tobytes()
        )
    return folder


def write_npz(path: Path, *, number: int = 60) -> Path:
    """A small regression set."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(number, 5)).astype(np.float32)
    np.savez(path, x=inputs, y=(inputs @ rng.normal(size=5)).astype(np.float32))
    return path
