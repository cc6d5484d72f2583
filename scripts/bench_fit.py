"""How much `bigtrain fit` costs beside a bare hand-written scan of the same step.

The workload is W1: an MLP 784-64-64-10 with Adam, batch 32, on 60,000 examples that stay on the device. Both sides do
the same mathematics on batches of the same kind; bigtrain's side is the loop that `bigtrain fit` runs, with metrics,
loggers and progress on (checkpoints and evaluation happen outside of the measured stretch on both sides: neither is
part of a training step). The two are timed in turn and the ratio is taken pair by pair, since machines are noisy.

    python scripts/bench_fit.py --pairs 9 --steps 4000
    python scripts/bench_fit.py --nonfinite    # what each on_nonfinite costs beside no check at all
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from bench.arguments import count

from bigtrain.cli.fit import understood
from bigtrain.data.load import load_data
from bigtrain.run.clock import Clock
from bigtrain.tracking.console import Console
from bigtrain.train import hooks
from bigtrain.train.check_finite import CheckFinite
from bigtrain.train.fit import Beside, Start, assemble
from bigtrain.train.loop import train
from bigtrain.train.pace import Pace
from bigtrain.train.prepare import prepare
from bigtrain.train.save_best import SaveBest

WIDTHS, BATCH, SCANNED = (64, 64), 32, 32
ANSWERS = {"stop": (), "skip": ("on_nonfinite=skip",), "skip_spikes": ("skip_spikes=10",)}
"""What may be done about a number that is not finite, as overrides."""


def write_data(folder: Path) -> Path:
    """60,000 random examples of the shape of MNIST, f32, and 1,000 for validation."""
    rng = np.random.default_rng(0)
    path = folder / "w1.npz"
    np.savez(
        path,
        x_train=rng.random((60_000, 784), np.float32), y_train=rng.integers(0, 10, 60_000, np.int32),
        x_val=rng.random((1_000, 784), np.float32), y_val=rng.integers(0, 10, 1_000, np.int32),
        x_test=rng.random((1_000, 784), np.float32), y_test=rng.integers(0, 10, 1_000, np.int32),
    )  # fmt: skip
    return path


def bigtrain_side(data: Path, folder: Path, steps: int, *more: str, checked_for: bool = True) -> Callable[[], float]:
    """Seconds a step of the real loop, with the loggers that a run has by default.

    Args:
        data: the file.
        folder: for the run.
        steps: of a timing.
        more: further overrides.
        checked_for: whether the state is checked for what is not finite.
    """
    overrides = [
        "data=npz", f"data.path={data}", f"model.widths=[{WIDTHS[0]},{WIDTHS[1]}]", f"batch_size={BATCH}",
        f"steps={steps}", f"run_dir={folder / 'run'}", *more,
    ]  # fmt: skip
    _, checked, trusted = understood(overrides, None, [])
    ready = prepare(checked, trusted, load_data(checked, trusted))
    numbers = ready.program.numbers(ready.values)

    def once() -> float:
        from bigtrain.checkpoint import Checkpoints
        from bigtrain.config.build import build
        from bigtrain.run.directory import RunDirectory

        with tempfile.TemporaryDirectory() as name:
            directory = RunDirectory(Path(name))
            loggers = [
                build(node, trusted, directory=directory.path, resumed=None) for node in checked.loggers.values()
            ]
            start = Start(ready.program.init(numbers), 0, {}, {})
            checkpoints = Checkpoints(directory.checkpoints, ready.run.checkpoint)
            console = Console(quiet=True)
            clock, watching = Clock(), [*loggers, console]
            check = CheckFinite(steps)
            beside = Beside(checked, trusted, directory, console, clock, check)
            parts, _ = assemble(ready, start, numbers, checkpoints, watching, beside)
            left_out = (hooks.Evaluate, hooks.Save, SaveBest, *(() if checked_for else (CheckFinite,)))
            measured = [part for part in parts if not isinstance(part, left_out)]
            jax.block_until_ready(start.state)
            begun = time.perf_counter()
            train(
                ready.program, ready.placement, measured, start.state, numbers,
                start=0, steps=steps, pace=Pace(ready.placement.capacity), clock=clock,
            )  # fmt: skip
            seconds = time.perf_counter() - begun
            for logger in loggers:
                logger.close()
        return seconds / steps

    return once


def bare_side(data: Path, steps: int) -> Callable[[], float]:
    """Seconds a step of a hand-written `lax.scan` over 32 steps, with the loss of every step returned."""
    with np.load(data) as arrays:
        inputs, labels = jnp.asarray(arrays["x_train"]), jnp.asarray(arrays["y_train"])
    rule = optax.adam(1e-3)
    sizes = (784, *WIDTHS, 10)

    def loss_of(params: list[tuple[jax.Array, jax.Array]], x: jax.Array, y: jax.Array) -> jax.Array:
        for index, (kernel, bias) in enumerate(params):
            x = x @ kernel + bias
            x = jax.nn.relu(x) if index < len(params) - 1 else x
        return optax.softmax_cross_entropy_with_integer_labels(x, y).mean()

    def step(carry, indices):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_of)(params, inputs[indices], labels[indices])
        updates, state = rule.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    many = jax.jit(lambda carry, indices: jax.lax.scan(step, carry, indices), donate_argnums=0)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(60_000) for _ in range(-(-steps * BATCH // 60_000))]).astype(np.int32)
    chunks = [order[at * BATCH : (at + SCANNED) * BATCH].reshape(SCANNED, BATCH) for at in range(0, steps, SCANNED)]

    def fresh():
        keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
        params = [
            (jax.random.normal(key, shape) * shape[0] ** -0.5, jnp.zeros(shape[1]))
            for key, shape in zip(keys, itertools.pairwise(sizes), strict=True)
        ]
        return params, rule.init(params)

    jax.block_until_ready(many(fresh(), chunks[0]))

    def once() -> float:
        carry = fresh()
        jax.block_until_ready(carry)
        begun = time.perf_counter()
        for chunk in chunks:
            carry, _ = many(carry, chunk)
        jax.block_until_ready(carry)
        return (time.perf_counter() - begun) / (len(chunks) * SCANNED)

    return once


def compared(sides: Mapping[str, Callable[[], float]], pairs: int) -> None:
    """Times the sides in turn, and prints the ratio of each to the last, pair by pair."""
    names = list(sides)
    for once in sides.values():  # warm
        once()
    times = [[sides[name]() for name in names] for _ in range(pairs)]
    for name, column in zip(names, zip(*times, strict=True), strict=True):
        ratios = [own / row[-1] for own, row in zip(column, times, strict=True)]
        spread = f"median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{name:<12} {statistics.median(column) * 1e6:7.1f} µs/step   ratio of pairs: {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=count, default=9, help="how often each side is timed")
    parser.add_argument("--steps", type=count, default=4096, help="optimizer steps a timing")
    parser.add_argument("--nonfinite", nargs="*", choices=ANSWERS, help="compare the answers to what is not finite")
    asked = parser.parse_args()
    steps = max(1, asked.steps // SCANNED) * SCANNED
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(folder)
        if asked.nonfinite is not None:
            chosen = asked.nonfinite or ANSWERS
            sides = {name: bigtrain_side(data, folder, steps, *ANSWERS[name]) for name in chosen}
            sides["no check"] = bigtrain_side(data, folder, steps, checked_for=False)
        else:
            sides = {"bigtrain": bigtrain_side(data, folder, steps), "bare scan": bare_side(data, steps)}
        compared(sides, asked.pairs)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {steps} steps a timing, {asked.pairs} times each")


if __name__ == "__main__":
    main()
