"""One layer of a recurrent network over a whole sequence.

What doesn't depend on the step before is done for all steps at once, as matrix products outside the scan: the input's
projection, and the gradient of the recurrent weights. The results are those of Flax's cells (a test compares them).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.models import lstm
from bigtrain.models.linear import Linear
from bigtrain.parallel.naming import batched, named, ways, whole

Cell = Literal["simple", "gru", "lstm"]
GATES = {"simple": 1, "gru": 3, "lstm": 4}
Carry = tuple[jax.Array, ...]  # (h,) or, for the LSTM, (h, c); each [B, H]


class RecurrentLayer(nnx.Module):
    """Elman, GRU (Cho et al. 2014) or LSTM (Hochreiter & Schmidhuber 1997) recurrence over [B, T, D].

    Recurrent weights start orthogonal, input weights Glorot-uniform, the LSTM's forget bias at 1 (Jozefowicz et al.
    2015).
    """

    def __init__(self, features: int, width: int, *, cell: Cell, reverse: bool = False, rngs: nnx.Rngs) -> None:
        gates = GATES[cell]
        self.cell, self.width, self.reverse = cell, width, reverse
        start = nnx.initializers.glorot_uniform()
        self.input = Linear(features, gates * width, kernel_init=start, dims=("features", "gates"), rngs=rngs)
        orthogonal = nnx.initializers.orthogonal()
        blocks = [orthogonal(rngs.params(), (width, width), jnp.float32) for _ in range(gates)]
        self.recurrent = nnx.Param(jnp.concatenate(blocks, axis=1), dims=("units", "gates"))  # [H, gates * H]
        self.recurrent_bias = nnx.Param(jnp.zeros(width)) if cell == "gru" else None  # b_hn, inside the reset gate
        if cell == "lstm":
            self.input.bias[...] = self.input.bias[...].at[width : 2 * width].set(1.0)

    def initial(self, batch: int, dtype: jnp.dtype) -> Carry:
        """The state before the first step: zeros."""
        return tuple(jnp.zeros((batch, self.width), dtype) for _ in range(2 if self.cell == "lstm" else 1))

    def project(self, inputs: Float[Array, "... D"]) -> Float[Array, "... G"]:
        """The input's share of all gates."""
        projected: jax.Array = self.input(inputs)
        return projected

    def put_together(self, *, projecting: bool) -> RecurrentLayer:
        """The layer for the steps of a scan: whatever its parameters are split over is put together before the first.

        Args:
            projecting: whether each step also projects its inputs; else that has been done for all of them.
        """
        used = nnx.Param if projecting else nnx.All(nnx.Param, nnx.Not(nnx.PathContains("input")))
        graphdef, params, rest = nnx.split(self, used, ...)
        layer: RecurrentLayer = nnx.merge(graphdef, whole(params), rest)
        return layer

    def step(self, carry: Carry, projected: Float[Array, "B G"]) -> Carry:
        """One step from a projected input; the new hidden state is the carry's first entry."""
        recurrent = batched(carry[0] @ self.recurrent[...].astype(carry[0].dtype))
        return _next(self.cell, carry, projected, recurrent, self._bias(carry[0].dtype))

    def __call__(
        self,
        inputs: Float[Array, "B T D"],
        *,
        valid: Bool[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
    ) -> tuple[Float[Array, "B T H"], Float[Array, "B H"]]:
        """The hidden state at every step, and after the last one.

        Args:
            inputs: the sequence.
            valid: steps that exist; elsewhere the state is carried over unchanged.
            segments: numbers the sequences packed into a row; the state restarts at zero where it changes.
        """
        hidden, carry = self.read(inputs, valid=valid, segments=segments)
        return hidden, carry[0]

    def read(
        self,
        inputs: Float[Array, "B T D"],
        *,
        valid: Bool[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
    ) -> tuple[Float[Array, "B T H"], Carry]:
        """As a call, with all of the state after the last step: of an LSTM the memory cells too."""
        split = ways("batch") > 1  # the projection's gradient puts examples and steps in one dimension, in this order
        projected = self.project(inputs).swapaxes(0, 1) if split else self.project(inputs.swapaxes(0, 1))  # [T, B, G]
        # no step of the scan waits for other devices: whatever the parameters are split over is put together before it
        projected = named(projected, None, "batch", None)
        starts = None if segments is None else _starts(segments, valid, self.reverse).T
        where = (None if valid is None else valid.T, starts)
        weights, dtype = named(self.recurrent[...].astype(inputs.dtype), None, None), inputs.dtype
        initial = self.initial(inputs.shape[0], dtype)
        carry, hidden = recur(self.cell, self.reverse, projected, weights, self._bias(dtype), initial, where)
        return named(hidden, None, "batch", None).swapaxes(0, 1), batched(carry)

    def _bias(self, dtype: jnp.dtype) -> jax.Array | None:
        return None if self.recurrent_bias is None else self.recurrent_bias[...].astype(dtype)


def _next(cell: Cell, carry: Carry, projected: jax.Array, recurrent: jax.Array, bias: jax.Array | None) -> Carry:
    """The next state from the shares [B, G] that the input and the last hidden state have of the gates."""
    if cell == "simple":
        return (jnp.tanh(projected + recurrent),)
    if cell == "gru":
        (rx, zx, nx), (rh, zh, nh) = jnp.split(projected, 3, -1), jnp.split(recurrent, 3, -1)
        reset, update = jax.nn.sigmoid(rx + rh), jax.nn.sigmoid(zx + zh)
        new = jnp.tanh(nx + reset * (nh + bias))
        return ((1 - update) * new + update * carry[0],)
    return lstm.following(carry[1], lstm.activated(projected + recurrent))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recur(
    cell: Cell,
    reverse: bool,
    projected: Float[Array, "T B G"],
    weights: Float[Array, "H G"],
    bias: Float[Array, " H"] | None,
    initial: Carry,
    where: tuple[Bool[Array, "T B"] | None, Bool[Array, "T B"] | None],
) -> tuple[Carry, Float[Array, "T B H"]]:
    """The state after the last step, and the hidden state after each.

    Differentiated as it is, the scan would add [H, G] numbers to the gradient of `weights` at each step. That gradient
    is the sum over the steps of hᵀ·dg, h the hidden state before a step and dg the gradient of its gates: one matrix
    product once all dg are known.

    Args:
        cell: which recurrence.
        reverse: from the last step to the first.
        projected: the input's share of the gates.
        weights: from the hidden state to the gates.
        bias: of a GRU, inside its reset gate.
        initial: the state before the first step.
        where: which steps exist, and at which the state restarts at zero; None for all, and for none.
    """
    return _scanned(cell, reverse, weights, where, projected, None, bias, initial)


def _scanned(
    cell: Cell,
    reverse: bool,
    weights: jax.Array,
    where: tuple[jax.Array | None, jax.Array | None],
    projected: jax.Array,
    more: jax.Array | None,
    bias: jax.Array | None,
    initial: Carry,
) -> tuple[Carry, jax.Array]:
    """The scan; `more` [T, B, G] is added to the hidden state's share of the gates."""

    def body(carry: Carry, xs: tuple[Any, ...]) -> tuple[Carry, jax.Array]:
        carry, (step_input, step_more, exists, start) = batched((carry, xs))
        if start is not None:
            carry = tuple(jnp.where(start[:, None], 0, part) for part in carry)
        recurrent = batched(carry[0] @ weights)
        new = _next(cell, carry, step_input, recurrent if step_more is None else recurrent + step_more, bias)
        if exists is not None:
            new = tuple(jnp.where(exists[:, None], after, before) for after, before in zip(new, carry, strict=True))
        return new, new[0]

    return jax.lax.scan(body, initial, (projected, more, *where), reverse=reverse)


def _recur_forward(
    cell: Cell, reverse: bool, projected: jax.Array, weights: jax.Array, bias: Any, initial: Carry, where: Any
) -> tuple[Any, Any]:
    if cell == "lstm":
        last, hidden, gates = lstm.scan(reverse, weights, where, projected, (initial[0], initial[1]))
        return (last, hidden), (gates, weights, hidden, initial, where)
    # in a GRU the input and the hidden state meet the reset gate at different places: two gradients, not one
    more = jnp.zeros_like(projected) if cell == "gru" else None

    def run(projected: jax.Array, more: jax.Array | None, initial: Carry) -> tuple[Carry, jax.Array]:
        return _scanned(cell, reverse, weights, where, projected, more, bias, initial)

    results, pull = jax.vjp(run, projected, more, initial)
    return results, (pull, weights, results[1], initial, where)


def _recur_backward(cell: Cell, reverse: bool, kept: Any, grads: Any) -> tuple[Any, ...]:
    pull, weights, hidden, initial, where = kept
    before = lstm.shifted(hidden, initial[0], where[1], reverse)
    if cell == "lstm":
        projected, by_initial = lstm.pull(reverse, weights, where, pull, initial, grads)
        gates, bias = projected, None
    else:
        projected, more, by_initial = pull(grads)
        gates = projected if more is None else more
        # added where the hidden state's share of the candidate is: summed in the scan, devices would wait in each step
        bias = None if more is None else jnp.split(more, 3, -1)[2].sum((0, 1))
    by_weights = _summed(before, gates)
    return projected, by_weights, bias, by_initial, None


def _summed(before: Float[Array, "T B H"], gates: Float[Array, "T B G"]) -> Float[Array, "H G"]:
    """hᵀ·dg over all steps and examples."""
    if ways("batch") > 1:  # steps and examples in one dimension could not stay split over the devices
        return jnp.einsum("tbh,tbg->hg", before, gates)
    found: jax.Array = before.reshape(-1, before.shape[-1]).T @ gates.reshape(-1, gates.shape[-1])
    return found  # an einsum would turn one of the two round first


recur.defvjp(_recur_forward, _recur_backward)


def _starts(segments: Int[Array, "B T"], valid: Bool[Array, "B T"] | None, reverse: bool) -> Bool[Array, "B T"]:
    """Where a new segment begins, seen in the direction of reading; never in steps that don't exist."""
    changes = segments[:, 1:] != segments[:, :-1]
    edge = jnp.zeros_like(changes[:, :1])
    starts = jnp.concatenate([changes, edge] if reverse else [edge, changes], axis=1)
    return starts if valid is None else starts & valid
