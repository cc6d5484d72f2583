"""The Transformer as it was first: an encoder that reads the source, and a decoder that attends to it.

Legend of dim letters: B batch, S steps of the source, T steps of the target, D width, V symbols of the target.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.config.values import PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.models import lookup
from bigtrain.models.attention import Formulation, allowed
from bigtrain.models.embedding import EMBEDDING
from bigtrain.models.feed_forward import Activation
from bigtrain.models.layers import Dropout
from bigtrain.models.linear import Linear
from bigtrain.models.positions import sinusoidal
from bigtrain.models.sequence_pairs import check_pairs
from bigtrain.models.stack import BlockStack, Remat
from bigtrain.models.transformer_block import BlockSettings, Norm, NormPosition, make_norm
from bigtrain.parallel.rules import Dim

Memory = dict[str, jax.Array]  # values [B, S, D], valid [B, S]
Carry = tuple[Bool[Array, "B S"], Any, Int[Array, ""]]  # valid steps of the source, the blocks' caches, the position


class TransformerSeq2Seq(nnx.Module):
    """A Transformer encoder–decoder (Vaswani et al. 2017); sinusoidal positions, normalisation before each part."""

    objective = "seq2seq"

    def __init__(
        self,
        spec: Spec,
        *,
        width: PositiveInt = 128,
        heads: PositiveInt = 4,
        layers: PositiveInt = 2,
        decoder_layers: PositiveInt | None = None,
        hidden: PositiveInt | None = None,
        norm: Norm = "layer",
        norm_position: NormPosition = "pre",
        activation: Activation = "relu",
        tied: Literal["output", "none"] = "output",
        attention: Formulation = "auto",
        dropout: Rate = 0.1,
        scan_layers: bool = False,
        remat: Remat = "none",
        rngs: nnx.Rngs,
    ) -> None:
        """Builds encoder and decoder for the data's vocabularies.

        Args:
            spec: the data: pairs of token sequences.
            width: dims of a token.
            heads: attention heads; `width` is cut evenly over them.
            layers: blocks of the encoder.
            decoder_layers: blocks of the decoder; as many as `layers` by default.
            hidden: units of the feed-forward layers; 4 × width by default, 8/3 × width for swiglu and geglu.
            norm: layer or rms.
            norm_position: before each part of a block (pre), or after it (post, as in the paper; it needs a warm-up).
            activation: of the feed-forward layers.
            tied: whether the output layer shares the embedding of the target's tokens.
            attention: how attention is computed: auto, fused or plain.
            dropout: share of the values zeroed on the embeddings and after each part of a block, in training.
            scan_layers: stack the blocks of each side and scan over them: quick to compile at any depth.
            remat: what the backward pass computes again to save memory: none, full, or dots.
            rngs: random streams for the initial values and for dropout.
        """
        sizes = check_pairs(spec, "TransformerSeq2Seq")
        self.start, self.end, self.longest = sizes.start, sizes.end, sizes.longest
        self.width = width
        initial = nnx.initializers.normal(width**-0.5)  # times √width as it is read: rows of deviation 1
        table: dict[str, Any] = {"embedding_init": initial, "embedding_metadata": EMBEDDING, "rngs": rngs}
        self.source_embed = nnx.Embed(sizes.source, width, **table)
        self.target_embed = nnx.Embed(sizes.target, width, **table)
        options: dict[str, Any] = {
            "width": width, "heads": heads, "hidden": hidden, "norm": norm, "norm_position": norm_position,
            "activation": activation, "dropout": float(dropout), "attention": attention,
        }  # fmt: skip
        reading = BlockSettings(layers=layers, **options)
        writing = BlockSettings(layers=decoder_layers or layers, causal=True, cross=True, **options)
        self.encoder = BlockStack(reading, scan=scan_layers, remat=remat, rngs=rngs)
        self.decoder = BlockStack(writing, scan=scan_layers, remat=remat, rngs=rngs)
        before = norm_position == "pre"  # the sum of the blocks is normalised once more at the end
        self.encoder_norm = make_norm(reading, rngs=rngs) if before else None
        self.decoder_norm = make_norm(writing, rngs=rngs) if before else None
        self.dropout = Dropout(dropout, rngs=rngs)
        names: tuple[Dim, Dim] = ("width", "vocabulary")
        self.output = Linear(width, sizes.target, use_bias=False, dims=names, rngs=rngs) if tied == "none" else None

    def __call__(
        self, inputs: Int[Array, "B S"], previous: Int[Array, "B T"], *, lengths: Int[Array, " B"] | None = None
    ) -> Float[Array, "B T V"]:
        """Logits of each target token, where the tokens before it are given (teacher forcing).

        Args:
            inputs: the source.
            previous: the start token, and then the target without its last token.
            lengths: tokens of each source; what follows has no influence.
        """
        memory = self.encode(inputs, lengths=lengths)
        values = self._embedded(self.target_embed, previous, jnp.arange(previous.shape[1]))
        return self._logits(self.decoder(values, memory=memory["values"], memory_mask=memory["valid"]))

    def encode(self, inputs: Int[Array, "B S"], *, lengths: Int[Array, " B"] | None = None) -> Memory:
        """Reads the source; every array of the result begins with the batch."""
        steps = jnp.arange(inputs.shape[1])
        lengths = jnp.full(len(inputs), inputs.shape[1]) if lengths is None else lengths
        valid = steps < lengths[:, None]
        values = self.encoder(self._embedded(self.source_embed, inputs, steps), mask=allowed(valid))
        return {"values": values if self.encoder_norm is None else self.encoder_norm(values), "valid": valid}

    def initial(self, memory: Memory, length: int) -> Carry:
        """The state before the first of up to `length` tokens: room for their keys and values."""
        values = memory["values"]
        return memory["valid"], self.decoder.initial(len(values), length, values), jnp.int32(0)

    def step(self, carry: Carry, tokens: Int[Array, " B"]) -> tuple[Carry, Float[Array, "B V"]]:
        """One token further: the new state and the logits of the next token."""
        valid, caches, position = carry
        values = self._embedded(self.target_embed, tokens[:, None], position[None])
        values, caches = self.decoder.step(values, caches, position, memory_mask=valid)
        return (valid, caches, position + 1), self._logits(values)[:, 0]

    def _embedded(self, embed: nnx.Embed, tokens: jax.Array, positions: Int[Array, " T"]) -> Float[Array, "B T D"]:
        values = lookup.rows(embed.embedding[...], tokens) * math.sqrt(self.width)
        return self.dropout(values + sinusoidal(positions, self.width).astype(values.dtype)[None])

    def _logits(self, values: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        values = values if self.decoder_norm is None else self.decoder_norm(values)
        if self.output is not None:
            logits: jax.Array = self.output(values)
            return logits
        return values @ self.target_embed.embedding[...].T.astype(values.dtype)
