"""A bare loop: `lax.scan` over steps of hand-written JAX and Optax, data on the device, nothing beside it."""

from __future__ import annotations

import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench.catalog import Workload
from bench.sides import batches
from bench.sides.bare_models import MODELS


class Trainer:
    """See `bench.worker.Trainer`."""

    def __init__(self, workload: Workload, data: Path, options: dict[str, Any]) -> None:
        inputs, targets = batches.split(data, "train", workload.batch)
        self.data = jax.device_put((inputs, targets))
        self.order = batches.order(len(inputs), workload.batch)
        self.per_epoch = len(inputs) // workload.batch
        self.init, self.loss_of = MODELS[workload.name](**workload.model)
        self.rule = optax.adam(1e-3)
        self.programs = {form: self._program(form) for form in options.get("forms", workload.forms)}
        self.form = next(iter(self.programs))
        self.carry: Any = None

    def facts(self) -> dict[str, Any]:
        """See `bench.worker.Trainer`."""
        device = jax.devices()[0]
        shapes = jax.tree.leaves(jax.eval_shape(self.init, jax.random.key(0)))
        return {
            "parameters": sum(leaf.size for leaf in shapes), "jax": jax.__version__, "optax": optax.__version__,
            "device": device.device_kind, "form": self.form,
        }  # fmt: skip

    def _program(self, form: str) -> tuple[int, Any]:
        """Steps a call, and the call. 'scan32' loops over 32, 'unrolled8' writes 8 out, 'single' does one."""
        name = form.rstrip("0123456789")
        steps = int(form.removeprefix(name) or 1)

        def step(carry: Any, indices: jax.Array, data: Any) -> tuple[Any, jax.Array]:
            params, state, number = carry
            key = jax.random.fold_in(jax.random.key(1), number)
            loss, grads = jax.value_and_grad(self.loss_of)(params, data[0][indices], data[1][indices], key)
            updates, state = self.rule.update(grads, state, params)
            return (optax.apply_updates(params, updates), state, number + 1), loss

        def many(carry: Any, indices: jax.Array, data: Any) -> tuple[Any, jax.Array]:
            def body(carry: Any, one: jax.Array) -> tuple[Any, jax.Array]:
                return step(carry, one, data)

            return jax.lax.scan(body, carry, indices, unroll=steps if name == "unrolled" else 1)

        return steps, jax.jit(many, donate_argnums=0)

    def _fresh(self) -> None:
        def start(key: jax.Array) -> Any:
            params = self.init(key)
            return params, self.rule.init(params), jnp.int32(0)

        self.carry = jax.block_until_ready(jax.jit(start)(jax.random.key(0)))

    def _train(self, steps: int) -> list[jax.Array]:
        """At least that many steps; the loss of each, still on the device."""
        chunk, program = self.programs[self.form]
        losses = []
        pending: deque[jax.Array] = deque()
        for _ in range(-(-steps // chunk)):
            indices = np.stack([next(self.order) for _ in range(chunk)])
            self.carry, loss = program(self.carry, indices, self.data)
            losses.append(loss)
            pending.append(loss)
            if len(pending) > 2:  # no more than a few calls are under way, or the queue grows without end
                pending.popleft().block_until_ready()
        jax.block_until_ready(self.carry)
        return losses

    def loss(self, steps: int, tail: int) -> float:
        """See `bench.worker.Trainer`."""
        self._fresh()
        return float(np.concatenate(jax.device_get(self._train(steps)))[:steps][-tail:].mean())

    def warm(self) -> float:
        """Compiles every form, times them in turn, and keeps the fastest."""
        self._fresh()
        times: dict[str, list[float]] = {form: [] for form in self.programs}
        for attempt in range(4 if len(times) > 1 else 2):
            for form in times:
                self.form = form
                if attempt:
                    times[form].append(self._rate())
                else:
                    self.run(1)  # compiles
        self.form = min(times, key=lambda form: statistics.median(times[form]))
        return statistics.median(times[self.form])

    def _rate(self) -> float:
        """Seconds a step, over at least a tenth of a second."""
        seconds, steps, done = 0.0, 1, 1
        while seconds < 0.1:
            seconds, done = self.run(steps)
            steps = 2 * done
        return seconds / done

    def run(self, steps: int) -> tuple[float, int]:
        """See `bench.worker.Trainer`."""
        if self.carry is None:
            self._fresh()
        chunk = self.programs[self.form][0]
        begun = time.perf_counter()
        self._train(steps)
        return time.perf_counter() - begun, -(-steps // chunk) * chunk

    def epochs(self, number: int) -> None:
        """See `bench.worker.Trainer`; a bare loop evaluates nothing."""
        self.run(number * self.per_epoch)
