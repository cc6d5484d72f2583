"""Rows of a table, with a gradient that is the same each time on a GPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bigtrain.parallel.naming import target, ways

BLOCK = 128  # sorted tokens that are summed by one small matrix product


def rows(table: Float[Array, "V D"], indices: Int[Array, "*lead"]) -> Float[Array, "*lead D"]:
    """The rows of these indices.

    The gradient adds up the rows of each index. A GPU does that in whichever order its threads come, so that no two
    runs agree to the last bit, or one by one; `summed` is as fast as the former and as exact as the latter. Where the
    indices are split over devices, they would have to be gathered to be sorted, and XLA's own gradient is taken.
    """
    if target().platform != "gpu" or ways("batch") * ways("time") > 1:
        return jnp.take(table, indices, axis=0)
    return _rows(table, indices)


@jax.custom_vjp
def _rows(table: jax.Array, indices: jax.Array) -> jax.Array:
    return jnp.take(table, indices, axis=0)


def _forward(table: jax.Array, indices: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return jnp.take(table, indices, axis=0), (indices, jnp.zeros((table.shape[0], 0), table.dtype))


def _backward(kept: tuple[jax.Array, jax.Array], grads: jax.Array) -> tuple[jax.Array, None]:
    indices, like = kept
    found = summed(grads.reshape(-1, grads.shape[-1]), indices.reshape(-1), like.shape[0])
    return found.astype(like.dtype), None


_rows.defvjp(_forward, _backward)


def summed(values: Float[Array, "N D"], indices: Int[Array, "N"], size: int) -> Float[Array, "V D"]:
    """The sum of the values of each index, in f32 and in an order that depends on nothing but the indices.

    Sorted by index, values are cut into blocks, in each of which a product with zeros and ones adds up the values of
    every index. An index of which the values go on in later blocks gets their sums by a second such product. So every
    row of the result is written once.

    Args:
        values: what is added up.
        indices: to which row each belongs; what is beyond the table is left out.
        size: rows of the result, V.
    """
    tokens, width = values.shape
    blocks = -(-tokens // BLOCK)
    given = jnp.where((indices >= 0) & (indices < size), indices, size).astype(jnp.int32)
    order = jnp.argsort(given, stable=True)
    fill = blocks * BLOCK - tokens
    found = jnp.pad(given[order], (0, fill), constant_values=size)
    parts = jnp.pad(values[order], ((0, fill), (0, 0))).reshape(blocks, BLOCK, width)
    starts = jnp.concatenate([jnp.ones(1, bool), found[1:] != found[:-1]])  # where a new index begins
    own, new = found.reshape(blocks, BLOCK), starts.reshape(blocks, BLOCK)
    # the indices of a block are numbered from 0; the first may have begun in an earlier one
    number = jnp.cumsum(new.at[:, 0].set(False), axis=1, dtype=jnp.int32)
    member = number[:, None, :] == jnp.arange(BLOCK)[:, None]  # [blocks, number, place]
    sums = _product("bnp,bpd->bnd", member.astype(values.dtype), parts)
    row = jnp.max(jnp.where(member, own[:, None, :], -1), axis=2)  # the index of each number, -1 where there is none
    begun = jax.lax.cummax(jnp.where(starts, jnp.arange(len(starts)), 0))[::BLOCK] // BLOCK  # of each block's first
    goes_on = ~new[:, 0]
    later = (begun[None, :] == jnp.arange(blocks)[:, None]) & goes_on[None, :]  # [blocks, blocks that go on with it]
    rest = _product("bc,cd->bd", later.astype(jnp.float32), sums[:, 0])
    last = jnp.arange(BLOCK) == number[:, -1:]  # what may go on in later blocks is the last of its own
    sums = sums + jnp.where(last[..., None], rest[:, None, :], 0.0)
    written = (row >= 0) & ~(goes_on[:, None] & (jnp.arange(BLOCK) == 0))
    places = jnp.arange(blocks * BLOCK).reshape(blocks, BLOCK)
    to = jnp.where(written, row, size + 1 + places)  # no two alike
    table = jnp.zeros((size, width), jnp.float32)
    return table.at[to.reshape(-1)].set(sums.reshape(-1, width), mode="drop", unique_indices=True)


def _product(spelled: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """A product that is exact but for the sum, which is f32."""
    highest = jax.lax.Precision.HIGHEST  # or a GPU would round f32 to tf32
    return jnp.einsum(spelled, left, right, precision=highest, preferred_element_type=jnp.float32)
