"""How the cost of a step grows: its time against batch, width, depth and length, for each family.

    python scripts/bench_growth.py                      # every row; about ten minutes on two cores
    python scripts/bench_growth.py mlp transformer      # some families
    python scripts/bench_growth.py --compile            # seconds to compile 4, 16 and 64 Transformer layers

The exponent is the slope of log(time) over log(size), by least squares. Beside it stands the slope of the operations
that are counted in the program over the same sizes, and the exponent that theory gives where the size is large.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from bigtrain.cli.fit import understood
from bigtrain.data.load import load_data
from bigtrain.data.placement import Dispatch
from bigtrain.train.prepare import Prepared, prepare

EXAMPLES = 2048


@dataclass(frozen=True)
class Growth:
    """One row: a config in which one size takes several values."""

    family: str
    size: str
    values: tuple[int, ...]
    overrides: Callable[[int], list[str]]
    shape: Callable[[int], tuple[int, ...]]  # of an example: real values, or [length] tokens
    theory: str
    tokens: bool = False


def _vector(_: int) -> tuple[int, ...]:
    return (256,)


def _image(_: int) -> tuple[int, ...]:
    return (28, 28)


def _text(_: int) -> tuple[int, ...]:
    return (128,)


_MLP = ["model=mlp", "model.widths=[512,512]", "batch_size=256"]
_VAE = ["model=vae", "model.widths=[512]", "batch_size=256"]
_RNN = ["model=rnn", "model.cell=lstm", "model.width=128", "batch_size=32"]
_CNN = ["model=cnn", "batch_size=64"]
_GPT = ["model=transformer", "model.layers=2", "model.width=128", "model.heads=4", "batch_size=8"]

ROWS = (
    Growth("mlp", "batch", (64, 256, 1024), lambda n: [*_MLP, f"batch_size={n}"], _vector, "1"),
    Growth("mlp", "width", (256, 512, 1024), lambda n: [*_MLP, f"model.widths=[{n},{n}]"], _vector, "2"),
    Growth("mlp", "depth", (2, 4, 8), lambda n: [*_MLP, f"model.widths=[{','.join(['512'] * n)}]"], _vector, "1"),
    Growth("vae", "batch", (64, 256, 1024), lambda n: [*_VAE, f"batch_size={n}"], _image, "1"),
    Growth("vae", "width", (256, 512, 1024), lambda n: [*_VAE, f"model.widths=[{n},{n}]"], _image, "2"),
    Growth("rnn", "batch", (32, 128, 512), lambda n: [*_RNN, f"batch_size={n}"], lambda _: (32, 32), "1"),
    Growth("rnn", "width", (64, 128, 256), lambda n: [*_RNN, f"model.width={n}"], lambda _: (32, 32), "2"),
    Growth("rnn", "depth", (1, 2, 4), lambda n: [*_RNN, f"model.layers={n}"], lambda _: (32, 32), "1"),
    Growth("rnn", "length", (16, 64, 256), lambda _: _RNN, lambda n: (n, 32), "1"),
    Growth("cnn", "batch", (32, 128, 512), lambda n: [*_CNN, f"batch_size={n}"], _image, "1"),
    Growth("cnn", "width", (1, 2, 4), lambda n: [*_CNN, f"model.width={n}"], _image, "2"),
    Growth("cnn", "side of the image", (16, 32, 64), lambda _: _CNN, lambda n: (n, n), "2"),
    Growth("transformer", "batch", (4, 16, 64), lambda n: [*_GPT, f"batch_size={n}"], _text, "1", True),
    Growth("transformer", "width", (64, 128, 256), lambda n: [*_GPT, f"model.width={n}"], _text, "2", True),
    Growth("transformer", "depth", (2, 4, 8), lambda n: [*_GPT, f"model.layers={n}"], _text, "1", True),
    Growth("transformer", "length", (64, 256, 1024), lambda _: _GPT, lambda n: (n,), "1, then 2", True),
)  # fmt: skip


def made_up(folder: Path, row: Growth, value: int) -> list[str]:
    """Data of the shape that the row asks for, as overrides."""
    random, shape, path = np.random.default_rng(0), row.shape(value), folder / f"{ROWS.index(row)}-{value}.npz"
    given = ["data=npz", f"data.path={path}", "data.validation=0.1", "data.test=0"]
    if row.tokens:
        stream = random.integers(0, 256, (EXAMPLES, shape[0] + 1)).astype(np.int32)
        np.savez(path, x=stream[:, :-1], y=stream[:, 1:])
        return [*given, "data.kind=tokens", "data.target_kind=tokens", "data.vocabulary=256"]
    inputs = random.random((EXAMPLES, *shape), np.float32)
    np.savez(path, x=inputs, y=random.integers(0, 10, EXAMPLES).astype(np.int32))
    return given


def compiled(overrides: Sequence[str]) -> Prepared:
    """The program that `bigtrain fit` would run."""
    _, checked, trusted = understood([*overrides, "run_dir=unused", "compilation_cache=false"], None, [])
    return prepare(checked, trusted, load_data(checked, trusted))


def seconds_a_step(ready: Prepared, *, seconds: float = 0.5, rounds: int = 3) -> float:
    """Median of `rounds` timings of at least `seconds`."""
    program = ready.program
    numbers = program.numbers(ready.values)
    state = program.init(numbers)
    number = ready.placement.capacity
    ((_, feed),) = ready.placement.feeds([Dispatch(0, number)])

    def run(state, number):  # type: ignore[no-untyped-def]
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(program.advance(state, feed, number, numbers))
        return state, time.perf_counter() - begun

    state, _ = run(state, 1)
    state, once = run(state, 1)
    number = max(1, min(number, round(seconds / once)))
    times = []
    for _ in range(rounds):
        state, took = run(state, number)
        times.append(took / number)
    return statistics.median(times)


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent of a power law, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def table(families: Sequence[str]) -> None:
    """Prints one line a row as it is measured."""
    print("| Family | Size | Values | ms a step | Exponent | of operations | in theory |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        for row in ROWS:
            if families and row.family not in families:
                continue
            times, flops = [], []
            for value in row.values:
                ready = compiled([*row.overrides(value), *made_up(Path(name), row, value)])
                times.append(seconds_a_step(ready))
                flops.append(ready.program.flops)
            shown = ", ".join(f"{1e3 * each:.3g}" for each in times)
            values = ", ".join(map(str, row.values))
            exponents = f"{slope(row.values, times):.2f} | {slope(row.values, flops):.2f} | {row.theory}"
            print(f"| {row.family} | {row.size} | {values} | {shown} | {exponents} |", flush=True)


def compile_times() -> None:
    """Prints how long Transformers of several depths take to compile, scanned and layer by layer."""
    print("| Layers | scanned: s to compile | separate: s to compile |\n| --- | --- | --- |")
    row = next(row for row in ROWS if row.family == "transformer")
    with tempfile.TemporaryDirectory() as name:
        data = made_up(Path(name), row, 4)
        for layers in (4, 16, 64):
            taken = []
            for scan in ("true", "false"):
                if scan == "false" and layers > 16:
                    taken.append(math.nan)  # minutes
                    continue
                ready = compiled([*_GPT, *data, f"model.layers={layers}", f"model.scan_layers={scan}"])
                taken.append(ready.compile_seconds)
            print(f"| {layers} | {taken[0]:.1f} | {'—' if math.isnan(taken[1]) else f'{taken[1]:.1f}'} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[[], *{row.family for row in ROWS}], metavar="FAMILY")
    parser.add_argument("--compile", action="store_true", help="only the time to compile")
    asked = parser.parse_args()
    if asked.compile:
        compile_times()
    else:
        table(asked.families)


if __name__ == "__main__":
    main()
