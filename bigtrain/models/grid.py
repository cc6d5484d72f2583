"""How examples become maps that kernels move over: images, curves, sequences and texts."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec
from bigtrain.models import lookup

Dims = Literal["auto", 1, 2]


class Grid(nnx.Module):
    """Inputs as [B, *space, C]: tokens embedded, missing dimensions added, small images surrounded with zeros."""

    def __init__(self, spec: Spec, *, dims: Dims, pad_to: int, embedding: int, rngs: nnx.Rngs) -> None:
        self.dims, self.pad_to = _dims(spec, dims), pad_to
        tokens = len(spec.vocabulary or ()) if spec.inputs.kind == "tokens" else 0
        self.embed = (
            nnx.Embed(tokens, embedding, embedding_metadata={"dims": ("vocabulary", None)}, rngs=rngs)
            if tokens
            else None
        )
        self.channels = embedding if tokens else math.prod(spec.inputs.shape[self.dims :])
        self.sizes = tuple(max(size, pad_to) for size in spec.inputs.shape[: self.dims])

    def __call__(self, inputs: jax.Array) -> Float[Array, "B *space C"]:
        """The map of a batch."""
        if self.embed is not None:  # called as a layer, it would compute in the type it was made with, f32
            values = lookup.rows(self.embed.embedding[...], inputs)
        else:
            values = inputs.reshape(*inputs.shape[: 1 + self.dims], -1)
        missing = [max(0, self.pad_to - size) for size in values.shape[1:-1]]
        if not any(missing):
            return values
        before = [size // 2 if self.dims == 2 else 0 for size in missing]  # a sequence keeps its beginning
        around = [(first, size - first) for first, size in zip(before, missing, strict=True)]
        return jnp.pad(values, ((0, 0), *around, (0, 0)))


def _dims(spec: Spec, dims: Dims) -> int:
    """Over how many dimensions of the inputs the kernels move."""
    shape, kind, cut = spec.inputs.shape, spec.inputs.kind, "lengths" in spec.fields
    if kind not in ("features", "tokens") or not 1 <= len(shape) <= 3:
        problem = f"CNN reads images [H, W(, C)], vectors and sequences, and data {spec.name!r} has {kind} of shape"
        raise ConfigError("model", f"{problem} {list(shape)}", hint="model=mlp flattens any shape")
    sequence = kind == "tokens" or len(shape) == 1 or cut
    if dims == 2 and sequence:
        what = f"{kind} of shape {list(shape)}" + (" with lengths" if cut else "")
        raise ConfigError("model.dims", f"2 needs images, and data {spec.name!r} has {what}", hint="use auto")
    return (1 if sequence else 2) if dims == "auto" else dims
