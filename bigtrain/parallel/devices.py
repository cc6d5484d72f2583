"""The devices that JAX finds, and which of JAX's own settings a run can have."""

from __future__ import annotations

import os
from typing import Any

import jax

from bigtrain.config.errors import ConfigError
from bigtrain.parallel import distributed

_NEEDED = (
    ("jax_disable_jit", (False,), "every step is part of a compiled program"),
    ("jax_enable_x64", (False,), "what a run computes has 32 bits, or what `precision` says"),
    ("jax_numpy_rank_promotion", ("allow", "warn"), "layers add a bias to each row"),
    ("jax_numpy_dtype_promotion", ("standard",), "optimizers multiply rates by counts"),
    ("jax_transfer_guard", (None, "allow", "log", "log_explicit"), "rates and batches are sent to the devices"),
)
"""Settings that a run can't have otherwise, and why."""

ASYNC = "jax_cpu_enable_async_dispatch"
_TELLING = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_default_matmul_precision",
)
"""Settings that a run can have, with which its random numbers or its rounding are others."""


def all_devices() -> list[jax.Device]:
    """All devices of all processes.

    Raises:
        ConfigError: when JAX finds none, or is set as no run can be; named by the variable of the environment.
    """
    check_settings()
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a plugin is there and finds no device
        raise _none(error) from error


def compute_in_calls() -> None:
    """One CPU device computes in the thread that calls, unless JAX has devices already or the user has set it.

    What a program needs for a call then comes from the main arena of the C library, which keeps it (`allocator`); from
    those of other threads more than 64 MB go back each time: 40,000 new pages a call of a small GPT, 8% of its time.
    On the other hand Python no longer works beside the device: 3 to 5% of a run whose steps are short. Several devices
    have to compute at once, each in a thread.
    """
    several = jax.config.jax_num_cpu_devices > 1 or distributed.current().count > 1
    if not several and ASYNC.upper() not in os.environ:
        jax.config.update(ASYNC, False)


def computes_in_calls() -> bool:
    """Whether CPU devices compute in the thread that calls, where all that a call is given is there already."""
    return not jax.config.read(ASYNC)


def check_settings() -> None:
    """Raises a ConfigError where JAX is set as no run can be."""
    for name, allowed, why in _NEEDED:
        if (value := getattr(jax.config, name)) not in allowed:
            variable = name.upper()
            raise ConfigError(variable, f"{str(value).lower()!r} is not possible: {why}", hint=f"unset {variable}")


def _none(error: Exception) -> ConfigError:
    """JAX's refusal as one of ours."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    reason = (str(error).splitlines() or [""])[0].partition(" (")[0]
    problem = f"JAX finds no device{f': {reason}' if reason else ''}"
    if platforms and platforms != "cpu":
        hint = "unset it to train on what is there, or install JAX for it: pip install 'jax[cuda13]' or 'jax[tpu]'"
        return ConfigError("JAX_PLATFORMS", f"{platforms!r}: {problem}", hint=hint)
    return ConfigError("", problem, hint="python -c 'import jax; jax.devices()' tells more")


def settings() -> dict[str, Any]:
    """What else than the config decides about random numbers and rounding: settings of JAX, and flags of XLA."""
    found = {name: getattr(jax.config, name) for name in _TELLING}
    return found | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
