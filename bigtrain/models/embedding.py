"""Embeddings of categorical columns, and of bags of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from bigtrain.models import lookup

TOKEN_WIDTH = 64  # of a bag of tokens, where the user says nothing
NAMES = ("categories", None)  # of a table's dimensions, in the rules of a mesh
EMBEDDING = {"dims": ("vocabulary", "width")}  # the same for the vectors of tokens, as `nnx.Embed` takes it
MOST = 64  # the widest embedding that `width_for` gives


def width_for(values: int) -> int:
    """How wide the embedding of a column with so many values is: 1.6 · values^0.56 (fast.ai's rule), at most 64."""
    return max(1, min(MOST, round(1.6 * values**0.56)))


class Categories(nnx.Module):
    """One embedding a categorical column. A value that training didn't see is the mean of those it saw.

    Args:
        sizes: the values of each column, index 0 (not seen in training) among them.
        widths: of each column's embedding.
        deviation: of the initial values.
        rngs: random streams for the initial values.
    """

    def __init__(self, sizes: Sequence[int], widths: Sequence[int], *, deviation: float, rngs: nnx.Rngs) -> None:
        start = nnx.initializers.normal(deviation)
        self.tables = nnx.List(
            [
                nnx.Param(start(rngs.params(), (size - 1, width)), dims=NAMES)
                for size, width in zip(sizes, widths, strict=True)
            ]
        )

    def __call__(self, indices: Int[Array, "B K"]) -> list[Float[Array, "B W"]]:
        """The embedding of each column."""
        return [_rows(table[...], indices[:, at]) for at, table in enumerate(self.tables)]


def _rows(table: Float[Array, "N W"], indices: Int[Array, "B"]) -> Float[Array, "B W"]:
    """Row `index - 1` of the table, and the mean of all rows where the index is 0."""
    found = table[jnp.maximum(indices - 1, 0)]
    return jnp.where((indices == 0)[:, None], table.mean(axis=0, keepdims=True), found)


class Bag(nnx.Module):
    """The mean of the embeddings of an example's tokens, in whatever order (fastText, Joulin et al. 2016)."""

    def __init__(self, tokens: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.table = nnx.Param(nnx.initializers.normal(1.0)(rngs.params(), (tokens, width)), dims=("vocabulary", None))

    def __call__(self, tokens: Int[Array, "B *T"], lengths: Int[Array, "B"] | None = None) -> Float[Array, "B W"]:
        """The mean over the valid tokens; those beyond `lengths` don't count."""
        flat = tokens.reshape(len(tokens), math.prod(tokens.shape[1:]))
        rows = lookup.rows(self.table[...], flat)  # [B, T, W]
        if lengths is None:
            return rows.mean(axis=1)
        valid = (jnp.arange(flat.shape[1]) < lengths[:, None]).astype(rows.dtype)
        total: jax.Array = jnp.einsum("btw,bt->bw", rows, valid)
        return total / jnp.maximum(lengths, 1)[:, None].astype(rows.dtype)
