"""What every augmentation provides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax

Batch = Mapping[str, jax.Array]


@runtime_checkable
class Augmentation(Protocol):
    """A random change of a training batch, traced into the step; evaluation never sees it.

    Its constructor may ask for `spec`, and refuses data that it can't change.
    """

    def apply(self, batch: Batch, key: jax.Array) -> Batch:
        """The batch changed; shapes and types stay.

        Args:
            batch: as the model would see it: `inputs` [B, *shape], `targets` …
            key: draw from it and from nothing else, so that a run can be repeated; one draw an example, so that the
                result doesn't depend on how the batch is sharded.
        """
        ...
