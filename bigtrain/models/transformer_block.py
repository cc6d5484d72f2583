"""The Transformer block: one for decoders, encoders, vision and translation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.config.errors import ConfigError
from bigtrain.models.attention import Attention, Formulation, KeysValues, Mask
from bigtrain.models.feed_forward import Activation, FeedForward, hidden_size
from bigtrain.models.layers import Dropout
from bigtrain.models.positions import Rotation

Norm = Literal["layer", "rms"]
NormPosition = Literal["pre", "post"]
Cache = dict[str, KeysValues]  # "own": keys and values so far; "memory": those of what is attended to beside
EPSILON = 1e-5  # of the norms, as in GPT-2 and Llama


@dataclass(frozen=True)
class BlockSettings:
    """What a block is made of.

    Args:
        width: dims of a token.
        heads: attention heads; `width` is cut evenly over them.
        layers: how many such blocks follow each other, which sets how small the residual branches start.
        kv_heads: heads of keys and values; as many as `heads` by default.
        hidden: units of the feed-forward layer; see `hidden_size` for the default.
        norm: LayerNorm, or RMSNorm.
        norm_position: before each half (pre), or after it and its residual (post, Vaswani et al. 2017).
        activation: of the feed-forward layer.
        bias: whether linear layers and LayerNorms have biases.
        causal: whether a token sees only those before it.
        cross: whether there is a third part, which attends to a memory.
        dropout: share of each part's outputs zeroed in training.
        attention: how attention is computed.
    """

    width: int
    heads: int
    layers: int
    kv_heads: int | None = None
    hidden: int | None = None
    norm: Norm = "layer"
    norm_position: NormPosition = "pre"
    activation: Activation = "gelu"
    bias: bool = True
    causal: bool = False
    cross: bool = False
    dropout: float = 0.0
    attention: Formulation = "auto"

    def __post_init__(self) -> None:
        if self.width % self.heads:
            near = [heads for heads in range(1, self.width + 1) if self.width % heads == 0 and heads <= 2 * self.heads]
            raise ConfigError(
                "model.heads", f"a width of {self.width} is not divisible by {self.heads}", allowed=map(str, near)
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            near = [number for number in range(1, self.heads + 1) if self.heads % number == 0]
            problem = f"{self.heads} heads can't share {self.kv_heads} heads of keys and values evenly"
            raise ConfigError("model.kv_heads", problem, allowed=map(str, near))


def make_norm(settings: BlockSettings, *, rngs: nnx.Rngs) -> Callable[[jax.Array], jax.Array]:
    """The block's kind of normalisation; its statistics are taken in f32."""
    if settings.norm == "rms":
        return nnx.RMSNorm(settings.width, epsilon=EPSILON, rngs=rngs)
    return nnx.LayerNorm(settings.width, epsilon=EPSILON, use_bias=settings.bias, rngs=rngs)


class Block(nnx.Module):
    """Self-attention, attention to a memory where asked, and a feed-forward layer, each around a residual."""

    def __init__(self, settings: BlockSettings, *, rngs: nnx.Rngs) -> None:
        self.norm_first = settings.norm_position == "pre"
        deviation = 0.02 / math.sqrt((3 if settings.cross else 2) * settings.layers)  # GPT-2: the sum stays of size 1
        self.attention_norm = make_norm(settings, rngs=rngs)
        self.attention = _attention(settings, settings.causal, deviation, rngs)
        self.cross_norm = make_norm(settings, rngs=rngs) if settings.cross else None
        self.cross = _attention(settings, False, deviation, rngs) if settings.cross else None
        self.feed_forward_norm = make_norm(settings, rngs=rngs)
        self.feed_forward = FeedForward(
            settings.width,
            settings.hidden or hidden_size(settings.width, settings.activation),
            activation=settings.activation,
            bias=settings.bias,
            last_deviation=deviation,
            rngs=rngs,
        )
        self.dropout = Dropout(settings.dropout, rngs=rngs)

    def __call__(
        self,
        values: Float[Array, "B T D"],
        *,
        mask: Mask | None = None,
        rotation: Rotation | None = None,
        memory: Float[Array, "B S D"] | None = None,
        memory_mask: Bool[Array, "B S"] | None = None,
    ) -> Float[Array, "B T D"]:
        """A whole sequence.

        Args:
            values: the tokens.
            mask: which of them may be looked at (`attention.allowed`), beside what `causal` hides.
            rotation: the angles of rotary positions.
            memory: another sequence to attend to; needs `cross`.
            memory_mask: the steps of the memory that exist.
        """
        values = self._around(values, self.attention_norm, lambda x: self.attention(x, mask=mask, rotation=rotation))
        if memory is not None:
            assert self.cross is not None, "a block without `cross` was given a memory"
            values = self._attended(values, self.cross.keys_values(memory), memory_mask)
        return self._around(values, self.feed_forward_norm, self.feed_forward)

    def initial(self, batch: int, length: int, dtype: jnp.dtype, memory: Float[Array, "B S D"] | None = None) -> Cache:
        """The state before the first of up to `length` tokens; keys and values of the memory are computed once."""
        cache = {"own": self.attention.initial(batch, length, dtype)}
        if memory is not None:
            assert self.cross is not None, "a block without `cross` was given a memory"
            cache["memory"] = self.cross.keys_values(memory)
        return cache

    def step(
        self,
        values: Float[Array, "B T D"],
        cache: Cache,
        position: Int[Array, ""],
        *,
        rotation: Rotation | None = None,
        memory_mask: Bool[Array, "B S"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """The next tokens of a causal block, the first of them at `position`; `rotation` is of their positions."""
        updated = dict(cache)

        def attended(normal: jax.Array) -> jax.Array:
            found, updated["own"] = self.attention.step(normal, cache["own"], position, rotation)
            return found

        values = self._around(values, self.attention_norm, attended)
        if "memory" in cache:
            values = self._attended(values, cache["memory"], memory_mask)
        return self._around(values, self.feed_forward_norm, self.feed_forward), updated

    def _attended(self, values: jax.Array, known: KeysValues, memory_mask: jax.Array | None) -> jax.Array:
        assert self.cross is not None
        assert self.cross_norm is not None
        cross, mask = self.cross, None if memory_mask is None else memory_mask[:, None, :]
        return self._around(values, self.cross_norm, lambda x: cross(x, known, mask=mask))

    def _around(
        self, values: jax.Array, norm: Callable[[jax.Array], jax.Array], part: Callable[[jax.Array], jax.Array]
    ) -> jax.Array:
        if self.norm_first:
            return values + self.dropout(part(norm(values)))
        return norm(values + self.dropout(part(values)))


def _attention(settings: BlockSettings, causal: bool, deviation: float, rngs: nnx.Rngs) -> Attention:
    return Attention(
        settings.width,
        heads=settings.heads,
        kv_heads=settings.kv_heads or settings.heads,
        bias=settings.bias,
        causal=causal,
        formulation=settings.attention,
        last_deviation=deviation,
        rngs=rngs,
    )
