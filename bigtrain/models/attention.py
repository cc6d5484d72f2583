"""Attention of several heads: two formulations of the same sum, which tokens see each other, and the memory of a step.

Legend beside that of `layers`: S the tokens looked at, N heads, K heads of keys and values (N / K share one), H the
dims of a head.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.models.feed_forward import linear
from bigtrain.models.linear import together
from bigtrain.models.positions import Rotation, rotated
from bigtrain.parallel.naming import named, target, ways
from bigtrain.parallel.rules import Dim

Formulation = Literal["auto", "fused", "plain"]
Mask = Bool[Array, "B #T S"]
BLOCKS, SHORTEST_BLOCK = 4, 64  # of queries, where they see only what is before: 4 blocks are 5/8 of the work
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
            model's step), or `fused`, that of `jax.nn`, which is cuDNN's flash attention where it can be; `auto` is
            plain on the CPU and fused elsewhere.
    """
    if formulation == "auto":
        formulation = "plain" if target().platform == "cpu" else "fused"
    if formulation == "plain":
        return _plain(query, key, value, mask, causal)
    if mask is None and _flashes(query, key, causal):
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal, implementation="cudnn")
    heads = None if mask is None else mask[:, None]
    return jax.nn.dot_product_attention(query, key, value, mask=heads, is_causal=causal)


def _flashes(query: jax.Array, key: jax.Array, causal: bool) -> bool:
    """Whether cuDNN can take this: on an NVIDIA GPU that has it, 16-bit numbers in heads of sizes that it knows."""
    if "nvidia" not in target().device_kind.lower() or query.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    if ways("time") > 1:  # tokens that are split over devices
        return False
    call = partial(jax.nn.dot_product_attention, is_causal=causal, implementation="cudnn")
    try:
        jax.eval_shape(call, query, key, key)
    except (RuntimeError, ValueError, NotImplementedError):  # no cuDNN; such shapes
        return False
    return True


def _plain(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None, causal: bool) -> jax.Array:
    """Batched matrix products; where causal, the queries come in blocks that skip the keys after their last token."""
    steps = query.shape[1]
    causal_blocks = causal and ways("time") == 1  # steps that are split over devices are not cut again
    rows = _by_group(query, key.shape[2])
    key, value = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
    blocks = next(
        n for n in (BLOCKS, 2, 1) if n == 1 or (causal_blocks and steps % n == 0 and steps // n >= SHORTEST_BLOCK)
    )
    length, found = steps // blocks, []
    for first in range(0, steps, length):
        beyond = min(first + length, key.shape[3]) if blocks > 1 else key.shape[3]
        seen = mask
        if seen is not None:
            seen = seen[:, first : first + length, :beyond] if seen.shape[1] > 1 else seen[:, :, :beyond]
        if causal:
            triangle = jnp.tril(jnp.ones((1, length, beyond), bool), k=first)
            seen = triangle if seen is None else seen & triangle
        found.append(_block(rows[:, :, :, first : first + length], key[..., :beyond], value[:, :, :beyond], seen))
    return jnp.concatenate(found, axis=3).transpose(0, 3, 1, 2, 4).reshape(query.shape)


def _by_group(query: Float[Array, "B T N H"], groups: int) -> Float[Array, "B K G T H"]:
    """The heads that share keys next to each other."""
    batch, steps, heads, size = query.shape
    return query.reshape(batch, steps, groups, heads // groups, size).transpose(0, 2, 3, 1, 4)


def _block(
    rows: Float[Array, "B K G T H"],
    key: Float[Array, "B K H S"],
    value: Float[Array, "B K S H"],
    mask: Bool[Array, "B #T S"] | None,
) -> Float[Array, "B K G T H"]:
    """Attention of some queries; the heads that share keys are more rows of one product.

    The sum of the weights divides the result, which has fewer numbers than the weights; so the gradient needs no sum
    over the keys either (Dao et al. 2022).
    """
    flat, scale = rows.reshape(*rows.shape[:2], -1, rows.shape[4]), 1 / math.sqrt(rows.shape[4])
    if flat.dtype == jnp.float32:  # the queries have fewer numbers than the logits; in bf16 they would be rounded again
        flat, scale = flat * scale, 1.0
    logits = jnp.matmul(flat, key, preferred_element_type=jnp.float32).reshape(*rows.shape[:4], -1)
    logits = logits if scale == 1.0 else logits * scale
    if mask is not None:  # a finite number: no NaN where all is hidden
        logits = jnp.where(mask[:, None, None], logits, jnp.finfo(logits.dtype).min)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
    spread = weights.astype(value.dtype).reshape(*flat.shape[:3], -1)
    summed = jnp.matmul(spread, value, preferred_element_type=jnp.float32).reshape(rows.shape)
    return (summed / weights.sum(-1, keepdims=True)).astype(value.dtype)


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
        many: Dim = ("heads", heads)
        shared: Dim = ("kv_heads", kv_heads) if kv_heads != heads else many
        self.query = linear(width, heads * self.size, bias=bias, dims=("width", many), rngs=rngs)
        self.key = linear(width, kv_heads * self.size, bias=bias, dims=("width", shared), rngs=rngs)
        self.value = linear(width, kv_heads * self.size, bias=bias, dims=("width", shared), rngs=rngs)
        self.output = linear(
            heads * self.size, width, bias=bias, deviation=last_deviation, dims=(many, "width"), rngs=rngs
        )

    def __call__(
        self,
        values: Float[Array, "B T D"],
        known: KeysValues | None = None,
        *,
        mask: Mask | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Array, "B T D"]:
        """Each token's view of the sequence itself, or of the memory whose keys and values are `known`."""
        if known is None:
            query, key, value = self._projected(values, rotation)
        else:
            query, (key, value) = self._heads(self.query(values), rotation), known
        query = named(query, "batch", "time", "heads", None)
        # every query needs the keys and values of all steps: where steps are split over devices, they are gathered here
        label = "heads" if key.shape[2] == query.shape[2] else "kv_heads"
        key, value = (named(part, "batch", None, label, None) for part in (key, value))
        return self._joined(attend(query, key, value, mask=mask, causal=self.causal, formulation=self.formulation))

    def keys_values(self, values: Float[Array, "B S D"], rotation: Rotation | None = None) -> KeysValues:
        """What others see of these tokens."""
        key, value = together(values, [self.key, self.value])
        return self._heads(key, rotation), self._heads(value, None)

    def initial(self, batch: int, length: int, dtype: jnp.dtype) -> KeysValues:
        """Room for the keys and values of `length` tokens."""
        shape = (batch, length, self.key.out_features // self.size, self.size)
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def step(
        self, values: Float[Array, "B T D"], cache: KeysValues, position: Int[Array, ""], rotation: Rotation | None
    ) -> tuple[Float[Array, "B T D"], KeysValues]:
        """The next tokens, the first of them at `position`, after those in the cache: the same as the whole at once."""
        query, *new = self._projected(values, rotation)
        key, value = (
            jax.lax.dynamic_update_slice_in_dim(old, part.astype(old.dtype), position, axis=1)
            for old, part in zip(cache, new, strict=True)
        )
        at = position + jnp.arange(values.shape[1])
        mask = jnp.arange(key.shape[1])[None, None, :] <= at[None, :, None]
        return self._joined(attend(query, key, value, mask=mask, formulation=self.formulation)), (key, value)

    def _projected(self, values: jax.Array, rotation: Rotation | None) -> list[jax.Array]:
        """Queries, keys and values of the same tokens."""
        query, key, value = together(values, [self.query, self.key, self.value])
        return [self._heads(query, rotation), self._heads(key, rotation), self._heads(value, None)]

    def _heads(self, found: jax.Array, rotation: Rotation | None) -> jax.Array:
        """A projection [B, T, N·H] as heads [B, T, N, H], rotated where asked."""
        found = found.reshape(*found.shape[:2], -1, self.size)
        return found if rotation is None else rotated(found, rotation)

    def _joined(self, found: jax.Array) -> jax.Array:
        result: jax.Array = self.output(found.reshape(*found.shape[:2], -1))
        return result
