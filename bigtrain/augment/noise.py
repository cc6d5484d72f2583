"""Gaussian noise on the inputs."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bigtrain.augment.augmentation import Batch
from bigtrain.config.errors import ConfigError
from bigtrain.config.values import NonNegativeFloat
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise to real inputs of any shape; what is beyond a sequence's length stays as it is.

    Args:
        spec: the data, whose inputs must be real values.
        deviation: standard deviation of the noise, in the units that the model sees (an image has 0 to 1).
    """

    spec: Spec
    deviation: NonNegativeFloat = 0.1

    def __post_init__(self) -> None:
        if self.spec.inputs.kind != "features":
            problem = f"is added to real values, and data {self.spec.name!r} has {self.spec.inputs.kind}"
            raise ConfigError("augment.noise", problem, hint="take it out of augment=[…]")

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """See `Augmentation`."""
        inputs = batch["inputs"]
        noise = jnp.asarray(self.deviation, inputs.dtype) * jax.random.normal(key, inputs.shape, inputs.dtype)
        if "lengths" in batch and inputs.ndim > 1:
            exists = jnp.arange(inputs.shape[1]) < batch["lengths"][:, None]
            noise = jnp.where(exists.reshape(*exists.shape, *(1,) * (inputs.ndim - 2)), noise, 0)
        return {**batch, "inputs": inputs + noise}
