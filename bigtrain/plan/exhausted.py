"""What to say of a run that found no memory: where the most of it went, and what to change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bigtrain.config.errors import RunError
from bigtrain.plan.memory import use_of
from bigtrain.plan.modules import shown_depth
from bigtrain.train.prepare import Prepared
from bigtrain.train.sharding import bytes_on_a_device

SMALLER_STEP = "try a smaller batch_size, accumulate=2, placement=stream, or a smaller model"
SMALLER_STATE = "try a smaller model, or split it over devices: mesh=fsdp (bigtrain plan says what fits)"


def while_running(ready: Prepared) -> RunError:
    """The error of a compiled run."""
    program = ready.program
    state = bytes_on_a_device(program.abstract)
    made = use_of(program.executables["advance"], ready.rules.mesh.devices.flat[0].platform).made
    needs = f"a step needs {_size(state)} for the training state and {_size(made)} beside it, on each device"
    return _error([needs, _largest(program.abstract.params)], SMALLER_STEP if made > state else SMALLER_STATE)


def while_compiling(params: Mapping[str, Any]) -> RunError:
    """The error of a run that could not even be compiled; parameters are shapes."""
    return _error([_largest(params)], SMALLER_STEP)


def _error(facts: list[str], hint: str) -> RunError:
    return RunError("\n  ".join(["out of memory; what was saved is intact", *facts, hint]))


def _largest(params: Mapping[str, Any]) -> str:
    """Which module has the most of the parameters."""
    depth, sizes = shown_depth(list(params)), dict[str, int]()
    for name, leaf in params.items():
        module = ".".join(name.split(".")[:depth])
        sizes[module] = sizes.get(module, 0) + math.prod(leaf.shape) * leaf.dtype.itemsize
    module = max(sizes, key=lambda name: sizes[name])
    return f"the largest module is {module}: {_size(sizes[module])} of the {_size(sum(sizes.values()))} of parameters"


def _size(number: int) -> str:
    """Bytes for people."""
    return f"{number / 1e9:,.2f} GB" if number >= 1e7 else f"{number / 1e6:,.2f} MB"
