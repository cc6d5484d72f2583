"""Attention of several heads: two formulations of the same sum, which tokens see each other, and the memory of a step.

Legend beside that of `layers`: S the tokens looked at, N heads, K heads of keys and values (N / K share one), H the
dims of a head.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.models.feed_forward import linear
from bigtrain.models.positions import Rotation, rotated

Formulation = Literal["auto", "fused", "plain"]
Mask = Bool[Array, "B #T S"]
KeysValues = tuple[jax.Array, jax.Array]  # [B, S, K, H] each


def allowed(
    valid: Bool[Array, "B S"] | None = None, segments: Int[Array, "B T"] | None = None
) -> Bool[Array, "B #T S"] | None:
    """Which tokens may be looked at: those that exist, and of packed sequences only the own one; None for all."""
    same = None if segments is None else segments[:, :, None] == segments[:, None, :]
    if valid is None:
        return same
    return valid[:, None, :] if same is None else same & valid[:, None, :]


def attend(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    *,
    mask: Mask | None = None,
    causal: bool = False,
    formulation: Formulation = "auto",
) -> Float[Array, "B T N H"]:
    """Scaled dot-product attention; the softmax is taken in f32 in either formulation.

    Args:
        query: of the tokens that look.
        key: of the tokens looked at.
        value: what is averaged.
        mask: True where a token may be looked at.
        causal: token t sees tokens 0 to t only.
        formulation: `plain` batched matrix products, the faster on the CPU (there, `fused` took a third of a small
            model's step), or `fused`, that of `jax.nn`; `auto` is plain on the CPU and fused elsewhere.
    """
    if formulation == "auto":
        formulation = "plain" if jax.default_backend() == "cpu" else "fused"
    if formulation == "plain":
        return _plain(query, key, value, mask, causal)
    heads = None if mask is None else mask[:, None]
    return jax.nn.dot_product_attention(query, key, value, mask=heads, is_causal=causal)


def _plain(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None, causal: bool) -> jax.Array:
    batch, steps, heads, size = query.shape
    seen, groups = key.shape[1], key.shape[2]
    # the heads that share keys become more rows of one product: [B, K, (N / K) * T, H] @ [B, K, H, S]
    rows = query.reshape(batch, steps, groups, heads // groups, size).transpose(0, 2, 3, 1, 4)
    rows = rows.reshape(batch, groups, -1, size)
    product = jnp.matmul(rows, key.transpose(0, 2, 3, 1), preferred_element_type=jnp.float32) / math.sqrt(size)
    logits = product.reshape(batch, groups, heads // groups, steps, seen)
    if causal:
        triangle = jnp.tril(jnp.ones((1, steps, seen), bool))
        mask = triangle if mask is None else mask & triangle
    if mask is not None:
        logits = jnp.where(
            mask[:, None, None], logits, jnp.finfo(logits.dtype).min
        )  # finite: no NaN where all is hidden
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype).reshape(batch, groups, -1, seen)
    found = (weights @ value.transpose(0, 2, 1, 3)).reshape(batch, groups, heads // groups, steps, size)
    return found.transpose(0, 3, 1, 2, 4).reshape(batch, steps, heads, size)


class Attention(nnx.Module):
    """Attention with its four projections (Vaswani et al. 2017), of grouped heads where asked (Ainslie et al. 2023)."""

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        kv_heads: int,
        bias: bool,
        causal: bool,
        formulation: Formulation,
        last_deviation: float,
        rngs: nnx.Rngs,
    ) -> None:
        self.size, self.causal, self.formulation = width // heads, causal, formulation
        self.query = linear(width, heads * self.size, bias=bias, rngs=rngs)
        self.key = linear(width, kv_heads * self.size, bias=bias, rngs=rngs)
        self.value = linear(width, kv_heads * self.size, bias=bias, rngs=rngs)
        self.output = linear(heads * self.size, width, bias=bias, deviation=last_deviation, rngs=rngs)

    def __call__(
        self,
        values: Float[Array, "B T D"],
        known: KeysValues | None = None,
        *,
        mask: Mask | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Array, "B T D"]:
        """Each token's view of the sequence itself, or of the memory whose keys and values are `known`."""
        query = self._heads(self.query, values, rotation)
        key, value = self.keys_values(values, rotation) if known is None else known
        return self._joined(attend(query, key, value, mask=mask, causal=self.causal, formulation=self.formulation))

    def keys_values(self, values: Float[Array, "B S D"], rotation: Rotation | None = None) -> KeysValues:
        """What others see of these tokens."""
        return self._heads(self.key, values, rotation), self._heads(self.value, values, None)

    def initial(self, batch: int, length: int, dtype: jnp.dtype) -> KeysValues:
        """Room for the keys and values of `length` tokens."""
        shape = (batch, length, self.key.out_features // self.size, self.size)
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def step(
        self, values: Float[Array, "B T D"], cache: KeysValues, position: Int[Array, ""], rotation: Rotation | None
    ) -> tuple[Float[Array, "B T D"], KeysValues]:
        """The next tokens, the first of them at `position`, after those in the cache: the same as the whole at once."""
        new = self.keys_values(values, rotation)
        key, value = (
            jax.lax.dynamic_update_slice_in_dim(old, part.astype(old.dtype), position, axis=1)
            for old, part in zip(cache, new, strict=True)
        )
        at = position + jnp.arange(values.shape[1])
        mask = jnp.arange(key.shape[1])[None, None, :] <= at[None, :, None]
        query = self._heads(self.query, values, rotation)
        return self._joined(attend(query, key, value, mask=mask, formulation=self.formulation)), (key, value)

    def _heads(self, project: nnx.Linear, values: jax.Array, rotation: Rotation | None) -> jax.Array:
        found = project(values).reshape(*values.shape[:2], -1, self.size)
        return found if rotation is None else rotated(found, rotation)

    def _joined(self, found: jax.Array) -> jax.Array:
        result: jax.Array = self.output(found.reshape(*found.shape[:2], -1))
        return result
