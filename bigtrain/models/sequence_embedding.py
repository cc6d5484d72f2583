"""What a Transformer reads as a sequence of vectors: tokens, steps of real values, or patches of an image."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from bigtrain.config.errors import ConfigError, InputError
from bigtrain.data.spec import Spec
from bigtrain.models import lookup
from bigtrain.models.embedding import EMBEDDING
from bigtrain.models.layers import Dropout
from bigtrain.models.linear import Linear
from bigtrain.models.positions import Positions, sinusoidal, within_segments
from bigtrain.parallel.naming import named


def steps_and_features(spec: Spec, patch: int | None) -> tuple[int, int]:
    """How many steps the data's inputs have, and how many numbers each; (T, 0) for tokens.

    Raises:
        ConfigError: where the inputs are no sequence, or can't be cut into such patches.
    """
    shape = spec.inputs.shape
    if spec.inputs.kind == "tokens":
        if patch is not None:
            raise ConfigError("model.patch", f"data {spec.name!r} has tokens, which are read one by one")
        if len(shape) != 1:
            problem = f"Transformer reads tokens as one sequence, and data {spec.name!r} has shape {list(shape)}"
            raise ConfigError("model", problem)
        return shape[0], 0
    if not shape:
        raise ConfigError("model", f"Transformer reads sequences, and data {spec.name!r} has single values")
    if patch is None:
        return shape[0], math.prod(shape[1:])
    if "lengths" in spec.fields or "segments" in spec.fields or len(shape) > 3:
        what = f"of shape {list(shape)}" if len(shape) > 3 else "of several lengths"
        problem = f"data {spec.name!r} has inputs {what}, which can't be cut into patches"
        raise ConfigError("model.patch", problem, hint="leave model.patch out: its steps are read one by one")
    sides = shape[:2]
    if any(side % patch for side in sides):
        fit = [size for size in range(1, min(sides) + 1) if not any(side % size for side in sides)]
        problem = f"inputs of shape {list(shape)} can't be cut into patches of {patch}"
        raise ConfigError("model.patch", problem, allowed=map(str, fit))
    number = math.prod(side // patch for side in sides)
    return number, math.prod(shape) // number


def patches(values: Float[Array, "B *shape"], patch: int) -> Float[Array, "B T D"]:
    """Images [B, H, W(, C)] as squares in reading order, or vectors [B, D] as runs, each flattened."""
    if values.ndim == 2:
        return values.reshape(len(values), -1, patch)
    batch, height, width = values.shape[:3]
    tiles = values.reshape(batch, height // patch, patch, width // patch, patch, -1)
    return tiles.swapaxes(2, 3).reshape(batch, (height // patch) * (width // patch), -1)


class SequenceEmbedding(nnx.Module):
    """Vectors for tokens, steps or patches, with their positions, and a class token in front where asked.

    Args:
        vocabulary: how many tokens there are; 0 for real values.
        features: numbers of a step or patch of real values.
        width: dims of the vectors.
        context: the most steps; learned positions are a table of as many rows.
        patch: side of the patches that inputs are cut into; None for steps as they are.
        positions: what is added to the vectors; rotary positions are not, they turn queries and keys.
        class_token: whether a learned vector stands in front, for a class to be read from.
        dropout: share zeroed in training.
        rngs: random streams.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 0,
        features: int = 0,
        width: int,
        context: int,
        patch: int | None = None,
        positions: Positions,
        class_token: bool = False,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        # Vaswani et al. 2017, section 3.4: beside sines of size 1, vectors are scaled up to that size too
        self.scale = math.sqrt(width) if positions == "sinusoidal" and vocabulary else 1.0
        normal = nnx.initializers.normal(1 / self.scale if self.scale != 1.0 else 0.02)
        small = nnx.initializers.normal(0.02)
        self.patch, self.sines = patch, positions == "sinusoidal"
        self.embed = (
            nnx.Embed(vocabulary, width, embedding_init=normal, embedding_metadata=EMBEDDING, rngs=rngs)
            if vocabulary
            else None
        )
        self.project = None if vocabulary else Linear(features, width, dims=("features", "width"), rngs=rngs)
        first = 1 if class_token else 0
        table = small(rngs.params(), (context + first, width), jnp.float32) if positions == "learned" else None
        self.position = None if table is None else nnx.Param(table, dims=("positions", "width"))
        self.class_token = nnx.Param(small(rngs.params(), (1, width), jnp.float32)) if class_token else None
        self.dropout = Dropout(dropout, rngs=rngs)

    def __call__(
        self,
        inputs: Float[Array, "B *shape"] | Int[Array, "B T"],
        *,
        segments: Int[Array, "B T"] | None = None,
        first: Int[Array, ""] | int = 0,
    ) -> Float[Array, "B T D"]:
        """The vectors, dropout included.

        Args:
            inputs: tokens, steps or images.
            segments: numbers the sequences packed into a row; positions begin anew in each.
            first: the position of the first token, where a sequence is read in pieces.
        """
        values = self._vectors(inputs)
        if self.class_token is not None:
            front = jnp.broadcast_to(self.class_token[...], (len(values), 1, values.shape[-1]))
            values = jnp.concatenate([front, values], axis=1)
        steps = first + jnp.arange(values.shape[1])
        at = within_segments(segments) if segments is not None else steps[None]
        if self.sines:
            values = values + sinusoidal(at, values.shape[-1]).astype(values.dtype)
        if self.position is not None:
            whole = segments is None and isinstance(first, int)  # known when traced: a slice, and no lookup
            table = self.position[...]
            if whole and first + values.shape[1] > len(table):
                problem = (
                    f"{first + values.shape[1]:,} steps are more than the {len(table):,} whose positions were learned"
                )
                raise InputError(f"{problem}\n  give shorter pieces, or train with model.positions=rotary")
            values = values + (table[None, first : first + values.shape[1]] if whole else jnp.take(table, at, axis=0))
        return self.dropout(named(values, "batch", "time", None))

    def logits(self, values: Float[Array, "*shape D"]) -> Float[Array, "*shape V"]:
        """Scores of every token, by the vectors that embed them (tied: Press & Wolf 2017)."""
        assert self.embed is not None
        return values @ self.embed.embedding[...].T

    def _vectors(self, inputs: jax.Array) -> jax.Array:
        if self.embed is not None:  # called as a layer, it would compute in the type it was made with, f32
            return lookup.rows(self.embed.embedding[...], inputs) * self.scale
        assert self.project is not None
        values = inputs.reshape(*inputs.shape[:2], -1) if self.patch is None else patches(inputs, self.patch)
        result: jax.Array = self.project(values)
        return result
