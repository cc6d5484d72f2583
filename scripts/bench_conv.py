"""What a convolution's gradient costs inside a loop: JAX's own against `bigtrain.models.convolution`.

The workload is W6: LeNet-5, batch 128 of 28x28, gradient descent. Each side runs step by step, and in one `fori_loop`
whose length is known only at run time, as in `bigtrain fit`. The four are timed in turn; medians are printed.

    python scripts/bench_conv.py --steps 20 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench.arguments import count

from bigtrain.models.convolution import LAYOUTS, convolve
from bigtrain.models.pooling import pool

Params = list[jax.Array]
Convolve = Callable[..., jax.Array]
SHAPES = ((5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10))


def plain(values: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Any) -> jax.Array:
    """The convolution with JAX's own gradients."""
    return jax.lax.conv_general_dilated(values, kernel, strides, pads, dimension_numbers=LAYOUTS[2])


def loss(params: Params, images: jax.Array, labels: jax.Array, conv: Convolve) -> jax.Array:
    """The cross-entropy of LeNet-5."""
    first, second, *dense = params
    values = pool(jax.nn.relu(conv(images[..., None], first, (1, 1), ((2, 2), (2, 2)))), "max", 2)
    values = pool(jax.nn.relu(conv(values, second, (1, 1), ((0, 0), (0, 0)))), "max", 2)
    values = values.reshape(len(values), -1)
    for kernel in dense[:-1]:
        values = jax.nn.relu(values @ kernel)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(values @ dense[-1]), labels[:, None], axis=1))


def sides(conv: Convolve, steps: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """`steps` steps one by one, and in a loop."""
    rng = np.random.default_rng(0)
    images, labels = jnp.asarray(rng.normal(size=(6000, 28, 28)), jnp.float32), jnp.arange(6000) % 10
    order = jnp.asarray(rng.integers(0, 6000, (steps, 128)))
    start = [jnp.asarray(rng.normal(size=shape) * 0.1, jnp.float32) for shape in SHAPES]

    def step(params: Params, at: jax.Array) -> Params:
        grads = jax.grad(loss)(params, images[order[at]], labels[order[at]], conv)
        return jax.tree.map(lambda value, grad: value - 0.01 * grad, params, grads)

    one = jax.jit(step)
    loop = jax.jit(lambda params, number: jax.lax.fori_loop(0, number, lambda at, p: step(p, at), params))

    def single() -> None:
        params = start
        for at in range(steps):
            params = one(params, jnp.int32(at))
        jax.block_until_ready(params)

    return single, lambda: jax.block_until_ready(loop(start, jnp.int32(steps)))


def main() -> None:
    """Prints milliseconds a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=count, default=20)
    parser.add_argument("--rounds", type=count, default=5)
    args = parser.parse_args()
    runs: dict[str, Callable[[], None]] = {}
    for name, conv in (("jax", plain), ("bigtrain", convolve)):
        runs[f"{name}, step by step"], runs[f"{name}, in a loop"] = sides(conv, args.steps)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for at in range(args.rounds + 1):  # the first compiles
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            times[name] += [1e3 * (time.perf_counter() - begun) / args.steps] if at else []
    for name, found in times.items():
        print(f"{name:24} {statistics.median(found):7.2f} ms a step (least {min(found):.2f})")


if __name__ == "__main__":
    main()
