"""Small models whose weights come from NumPy (nothing is compiled to make them), and finite differences."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax._src import compiler  # the one place where options for every program can be given

from bigtrain.models.split import Arrays, Parts, Recipe, split
from bigtrain.train.lower import has_option

NUMBERS = {"dropout": 0.0, "beta": 1.0}
EPSILON = 1e-5  # of a central difference in float64: errors of about 1e-10


def apart(make: Callable[[], nnx.Module], seed: int = 0, dtype: str = "float32") -> tuple[Recipe, Parts]:
    """A model taken apart, with every parameter drawn from a normal distribution of deviation 0.5."""
    recipe, shapes = split(nnx.eval_shape(make))
    random = np.random.default_rng(seed)
    params = {k: jnp.asarray(random.normal(size=v.shape) * 0.5, dtype) for k, v in shapes.params.items()}
    rest = {k: (jnp.ones if k.endswith("var") else jnp.zeros)(v.shape, v.dtype) for k, v in shapes.rest.items()}
    return recipe, Parts(params, rest)


def build(make: Callable[[], nnx.Module], seed: int = 0, training: bool = False, **numbers: float) -> Any:
    """The same as a module, in evaluation mode unless told otherwise."""
    recipe, parts = apart(make, seed)
    return recipe.merge(parts, {**NUMBERS, **numbers}, jax.random.key(seed), training=training)


def eager(call: Callable[..., Any], *inputs: Any, **extras: Any) -> Any:
    """A call step by step, without compiling loops."""
    with jax.disable_jit():
        return call(*inputs, **extras)


QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
"""Fused loops written by XLA's older code, in one part: a third of the time, for programs that run more slowly."""


@functools.cache
def quick_options() -> dict[str, Any]:
    """Those of `QUICK` that this version of XLA has: the older code is gone in jax 0.12."""
    return {name: value for name, value in QUICK.items() if has_option(name, value)}


def quick_flags() -> str:
    """The same for XLA_FLAGS."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in quick_options().items())


@contextlib.contextmanager
def quick_compiling() -> Iterator[None]:
    """XLA's optimizations off: programs that run once compile in a third of the time."""
    options_of, given = compiler.get_compile_options, quick_options()

    def quick(*args: Any, env_options_overrides: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return options_of(*args, env_options_overrides={**given, **(env_options_overrides or {})}, **options)

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        with mock.patch.object(compiler, "get_compile_options", quick):
            yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Everything in float64, also what the code asks to be float32."""
    with jax.enable_x64(True), mock.patch.object(jnp, "float32", jnp.float64):
        yield


def assert_gradient(loss: Callable[[Arrays], Any], params: Mapping[str, jax.Array], grads: Mapping[str, Any]) -> None:
    """In a random direction of each array, the compiled `loss` (float64) changes as `grads` says."""
    for at, name in enumerate(params):
        assert params[name].dtype == grads[name].dtype == jnp.float64
        direction = np.random.default_rng(at).normal(size=params[name].shape)
        ends = [float(loss({**params, name: params[name] + sign * EPSILON * direction})) for sign in (1, -1)]
        slope = float(jnp.sum(grads[name] * direction))
        assert abs(slope) > 1e-6, f"{name} has no influence: the comparison would be empty"
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * EPSILON), slope, rtol=1e-6, atol=1e-9, err_msg=name)
