"""The Transformer as a decoder, an encoder, or of images: which of them, the data decides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import PositiveFloat, PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.models.attention import Formulation, allowed
from bigtrain.models.feed_forward import Activation, linear
from bigtrain.models.linear import Linear
from bigtrain.models.positions import Positions, Rotation, rotation
from bigtrain.models.sequence_embedding import SequenceEmbedding
from bigtrain.models.sequence_reading import Pooling, Reading, read
from bigtrain.models.stack import BlockStack, Remat
from bigtrain.models.transformer_block import BlockSettings, Norm, NormPosition, make_norm

Carry = dict[str, Any]  # position [], caches; and tokens [B, context] where there may be more than fit


class Transformer(nnx.Module):
    """A Transformer: a language model of text; else an encoder of tokens, steps of real values, or image patches."""

    def __init__(
        self,
        spec: Spec,
        *,
        layers: PositiveInt = 4,
        width: PositiveInt = 128,
        heads: PositiveInt = 4,
        kv_heads: PositiveInt | None = None,
        hidden: PositiveInt | None = None,
        norm: Norm = "rms",
        norm_position: NormPosition = "pre",
        activation: Activation = "swiglu",
        bias: bool = False,
        positions: Positions = "rotary",
        rotary_base: PositiveFloat = 10_000.0,
        context: PositiveInt | None = None,
        patch: PositiveInt | None = None,
        pooling: Pooling = "auto",
        causal: bool | None = None,
        tie_embeddings: bool | None = None,
        embedding_norm: bool = False,
        dropout: Rate = 0.0,
        scan_layers: bool = False,
        remat: Remat = "none",
        attention: Formulation = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        """Builds the blocks, and what is before and after them for the data's shapes.

        Args:
            spec: the data; [H, W] is read as H steps of W values, [D] as D steps of one, or cut into patches.
            layers: how many blocks.
            width: dims of a token.
            heads: attention heads; the width is cut evenly over them.
            kv_heads: heads of keys and values, shared by groups of heads; as many as heads by default.
            hidden: units of the feed-forward layers; 4 × width by default, 8/3 × width for swiglu and geglu.
            norm: layer or rms.
            norm_position: before each half of a block (pre), or after it (post, as in 2017).
            activation: of the feed-forward layers.
            bias: whether linear layers and LayerNorms have biases.
            positions: rotary, learned (a table), sinusoidal, or none.
            rotary_base: the base of the rotary angles; larger for longer contexts.
            context: the most tokens that are seen at once; the data's own by default.
            patch: side of the squares that images are cut into, or the run of values for vectors.
            pooling: what one answer is read from: the mean of all steps, or cls, a token in front; auto: cls for
                patches, unless causal.
            causal: whether a step sees only those before; by default where each step has a token or number to predict.
            tie_embeddings: whether a language model's output uses its embedding; it does by default.
            embedding_norm: also normalise the embedded inputs, as BERT does.
            dropout: share zeroed after the embedding and after each half of a block, in training.
            scan_layers: one program for all blocks; compiles faster where there are many.
            remat: what is computed again to save memory: none, dots (all but matrix products) or full.
            attention: plain, fused, or auto: plain on the CPU, fused elsewhere.
            rngs: random streams for the initial values and for dropout.
        """
        self.reading = read(spec, patch=patch, causal=causal, pooling=pooling)
        _check(spec, self.reading, context, tie_embeddings, positions, width, heads)
        self.context = context or self.reading.steps
        self.rotary = (rotary_base, width // heads) if positions == "rotary" else None
        settings = BlockSettings(
            width, heads, layers, kv_heads, hidden, norm, norm_position, activation, bias, self.reading.causal,
            dropout=dropout, attention=attention,
        )  # fmt: skip
        self.embedding = _embedding(self.reading, self.context, width, patch, positions, dropout, rngs)
        self.embedding_norm = make_norm(settings, rngs=rngs) if embedding_norm else None
        self.blocks = BlockStack(settings, scan=scan_layers, remat=remat, rngs=rngs)
        self.norm = make_norm(settings, rngs=rngs) if norm_position == "pre" else None
        self.head = _head(self.reading, width, tie_embeddings, rngs)

    def __call__(
        self,
        inputs: Float[Array, "B *shape"] | Int[Array, "B T"],
        *,
        lengths: Int[Array, " B"] | None = None,
        segments: Int[Array, "B T"] | None = None,
    ) -> Float[Array, "B *steps V"]:
        """Logits or predicted values, of each step [B, T, V] or one for the sequence [B, V].

        Args:
            inputs: what the data has.
            lengths: valid steps of each sequence; what follows has no influence.
            segments: numbers the sequences packed into a row, which don't see each other.
        """
        values, valid = self._read(inputs, lengths, segments)
        if self.reading.per_step:
            return self.scores(values)
        return self.scores(_mean(values, valid) if self.reading.pooling == "mean" else values[:, 0])

    def hidden(self, inputs: Int[Array, "B T"], **extras: Any) -> Float[Array, "B T D"]:
        """What `scores` turns into the outputs of each step; the arguments are those of a call."""
        return self._read(inputs, extras.get("lengths"), extras.get("segments"))[0]

    def scores(self, values: Float[Array, "*shape D"]) -> Float[Array, "*shape V"]:
        """The outputs from the values that the last block gave."""
        values = values if self.norm is None else self.norm(values)
        return self.embedding.logits(values) if self.head is None else self.head(values)

    def _read(
        self, inputs: jax.Array, lengths: jax.Array | None, segments: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        """The values after the last block, and which steps exist."""
        values = self._embedded(inputs, segments=segments)
        steps, front = values.shape[1], 1 if self.embedding.class_token is not None else 0
        valid = None if lengths is None else jnp.arange(steps) < lengths[:, None] + front
        # what a causal model reads before the end of a sequence holds nothing of what is beyond it
        mask = allowed(None if self.reading.causal else valid, segments)
        return self.blocks(values, mask=mask, rotation=self._rotation(jnp.arange(steps))), valid

    def initial(self, batch: int, length: int) -> Carry:
        """The state before the first of up to `length` tokens of a language model.

        Keys and values of at most `context` tokens are kept. When a longer text has filled them, its older half is
        forgotten: each token is predicted from the last context/2 to context tokens, as if the text began there.
        """
        room = min(length, self.context)
        carry: Carry = {"position": jnp.int32(0), "caches": self.blocks.initial(batch, room)}
        return carry if length <= self.context else {**carry, "tokens": jnp.zeros((batch, room), jnp.int32)}

    def step(self, carry: Carry, tokens: Int[Array, " B"]) -> tuple[Carry, Float[Array, "B V"]]:
        """One token further: the new state and the logits of the next token."""
        if "tokens" in carry:
            carry = jax.lax.cond(carry["position"] == self.context, self._forgotten, lambda same: same, carry)
            seen = carry["tokens"].at[:, carry["position"]].set(tokens.astype(jnp.int32))
            carry = {**carry, "tokens": seen}
        values, caches = self._continued(carry["caches"], tokens[:, None], carry["position"])
        return {**carry, "position": carry["position"] + 1, "caches": caches}, self.scores(values[:, 0])

    def _forgotten(self, carry: Carry) -> Carry:
        """The state after only the newer half of the tokens."""
        kept = self.context // 2
        tokens = jnp.roll(carry["tokens"], kept, axis=1)  # what is now behind the kept ones is overwritten before seen
        _, caches = self._continued(carry["caches"], tokens, jnp.int32(0))
        return {"position": jnp.int32(kept), "caches": caches, "tokens": tokens}

    def _continued(self, caches: Any, tokens: jax.Array, first: jax.Array) -> tuple[jax.Array, Any]:
        """The values of further tokens, the first of them at position `first`, and the caches with them."""
        values = self._embedded(tokens, first=first)
        rotation = self._rotation(first + jnp.arange(tokens.shape[1]))
        return self.blocks.step(values, caches, first, rotation=rotation)

    def _embedded(self, inputs: jax.Array, **where: Any) -> jax.Array:
        values = self.embedding(inputs, **where)
        return values if self.embedding_norm is None else self.embedding_norm(values)

    def _rotation(self, positions: Int[Array, " T"]) -> Rotation | None:
        if self.rotary is None:
            return None
        base, size = self.rotary
        return rotation(positions, size, base)


def _mean(values: Float[Array, "B T D"], valid: jax.Array | None) -> Float[Array, "B D"]:
    """The mean over the steps that exist, summed in f32."""
    if valid is None:
        return values.mean(1)
    weights = valid.astype(jnp.float32)[..., None]
    total = jnp.where(valid[..., None], values.astype(jnp.float32), 0.0).sum(1)
    return (total / jnp.maximum(weights.sum(1), 1.0)).astype(values.dtype)


def _embedding(
    reading: Reading,
    context: int,
    width: int,
    patch: int | None,
    positions: Positions,
    dropout: float,
    rngs: nnx.Rngs,
) -> SequenceEmbedding:
    class_token = not reading.per_step and reading.pooling == "cls"
    return SequenceEmbedding(
        vocabulary=reading.vocabulary, features=reading.features, width=width, context=context, patch=patch,
        positions=positions, class_token=class_token, dropout=dropout, rngs=rngs,
    )  # fmt: skip


def _head(reading: Reading, width: int, tie: bool | None, rngs: nnx.Rngs) -> Linear | None:
    """The output layer; None where the embedding is used. That of a language model has no bias."""
    if reading.language:
        return (
            linear(width, reading.outputs, bias=False, dims=("width", "vocabulary"), rngs=rngs)
            if tie is False
            else None
        )
    return linear(width, reading.outputs, bias=True, dims=("width", None), rngs=rngs)


def _check(
    spec: Spec, reading: Reading, context: int | None, tie: bool | None, positions: Positions, width: int, heads: int
) -> None:
    if tie and not reading.language:
        problem = f"only a language model's output can use its embedding, and data {spec.name!r} has other targets"
        raise ConfigError("model.tie_embeddings", problem, hint="leave it out")
    if context is not None and context < reading.steps:
        problem = f"{context} is less than the {reading.steps} steps of data {spec.name!r}"
        raise ConfigError("model.context", problem, hint="leave it out: it follows the data")
    if positions == "rotary" and width % heads == 0 and (width // heads) % 2:
        problem = f"rotary needs heads of an even size, and {width} / {heads} = {width // heads}"
        raise ConfigError("model.positions", problem, hint=f"set model.heads={heads // 2 or 1}, or learned positions")
