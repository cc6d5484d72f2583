"""The mesh: a table of axis sizes over the devices at hand."""

from __future__ import annotations

import contextlib

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig


def simulate(cfg: MeshConfig) -> None:
    """Makes the CPU look like `mesh.simulate` devices; has to run before JAX first asks for devices."""
    if cfg.simulate is None:
        return
    with contextlib.suppress(RuntimeError):  # devices exist already: fine if they are as many as asked for
        jax.config.update("jax_num_cpu_devices", cfg.simulate)
    if len(jax.devices("cpu")) != cfg.simulate:
        problem = f"{cfg.simulate} simulated devices were asked for, but JAX runs with {len(jax.devices('cpu'))}"
        raise ConfigError("mesh.simulate", problem, hint="start a fresh process")
    jax.config.update("jax_default_device", None)
    jax.config.update("jax_platforms", "cpu")


def make(cfg: MeshConfig) -> Mesh:
    """The mesh that the config asks for; raises `ConfigError` when there are too few devices."""
    devices = jax.devices()
    data = cfg.data
    if data == "auto":
        data = 1 if devices[0].platform == "cpu" and cfg.simulate is None else -1
    size = len(devices) if data == -1 else int(data)
    if size > len(devices):
        hint = None
        if devices[0].platform == "cpu":
            hint = f"to try it on a CPU, simulate them: mesh.simulate={size}"
        raise ConfigError("mesh.data", f"{size} devices are asked for, {len(devices)} found", hint=hint)
    return Mesh(np.array(devices[:size]), ("data",), axis_types=(AxisType.Auto,))
