"""Everything that changes during training, as one pytree; a checkpoint is exactly this."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax

from bigtrain.models.split import Arrays, Parts


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The state after `step` optimizer steps.

    Random keys and the position in the data are functions of (seed, step), so `step` stands for both.
    """

    step: jax.Array  # int32 []
    params: Arrays
    rest: Arrays  # what changes without a gradient, such as batch statistics
    opt_state: Any
    ema: Arrays  # the moving average of params; empty when `ema` is off

    def evaluated(self) -> Parts:
        """The arrays that evaluation uses: the moving average where there is one."""
        return Parts(self.ema or self.params, self.rest)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as a checkpoint holds them; `TrainState(**fields)` is the way back."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
