"""What mixup and CutMix share: the partner of each example, and what becomes of the targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bigtrain.augment.augmentation import Batch
from bigtrain.augment.images import per_example
from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec


def check_mixes(spec: Spec, name: str) -> None:
    """Refuses data whose examples or targets have no mixture.

    Raises:
        ConfigError: naming the augmentation.
    """
    problem = None
    if spec.inputs.kind != "features":
        problem = f"mixes real inputs, and data {spec.name!r} has {spec.inputs.kind}"
    elif spec.targets is not None and spec.targets.kind not in ("label", "real"):
        problem = f"mixes labels and real targets, and data {spec.name!r} has {spec.targets.kind}"
    elif found := [field for field in ("lengths", "segments", "categories") if field in spec.fields]:
        problem = f"can't mix examples that have {found[0]}, as those of data {spec.name!r}"
    if problem:
        raise ConfigError(f"augment.{name}", problem, hint="take it out of augment=[…]")


def partner(values: jax.Array) -> jax.Array:
    """For each example the one before it in the batch; batches are in random order, so any partner is a random one."""
    return jnp.roll(values, 1, axis=0)


def with_targets(batch: Batch, spec: Spec, inputs: jax.Array, share: jax.Array, name: str) -> Batch:
    """The batch with mixed inputs, and the targets in the same shares: real ones mixed, labels side by side.

    Args:
        batch: before mixing.
        spec: the data.
        inputs: after mixing.
        share: what is left of each example, [B]; its partner has the rest.
        name: of the augmentation, for messages.
    """
    mixed = {**batch, "inputs": inputs}
    if spec.targets is None:
        return mixed
    targets = batch["targets"]
    if spec.targets.kind == "real":
        weight = per_example(share, targets)
        return {**mixed, "targets": weight * targets + (1.0 - weight) * partner(targets)}
    if "mix" in batch:
        raise ConfigError(f"augment.{name}", "labels can be mixed only once", hint="choose mixup or cutmix")
    return {**mixed, "mixed_targets": partner(targets), "mix": share}
