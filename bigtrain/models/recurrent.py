"""One layer of a recurrent network over a whole sequence.

The input projection of all steps is one matrix product outside the scan: 1.13-1.19x faster on the CPU than a cell that
does it step by step, with the same result as Flax's cells (a test compares them).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

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
        self.input = nnx.Linear(features, gates * width, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs)
        orthogonal = nnx.initializers.orthogonal()
        blocks = [orthogonal(rngs.params(), (width, width), jnp.float32) for _ in range(gates)]
        self.recurrent = nnx.Param(jnp.concatenate(blocks, axis=1))  # [H, gates * H]
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

    def step(self, carry: Carry, projected: Float[Array, "B G"]) -> Carry:
        """One step from a projected input; the new hidden state is the carry's first entry."""
        hidden = carry[0]
        recurrent = hidden @ self.recurrent[...].astype(hidden.dtype)
        if self.cell == "simple":
            return (jnp.tanh(projected + recurrent),)
        if self.cell == "gru":
            (rx, zx, nx), (rh, zh, nh) = jnp.split(projected, 3, -1), jnp.split(recurrent, 3, -1)
            assert self.recurrent_bias is not None
            reset, update = jax.nn.sigmoid(rx + rh), jax.nn.sigmoid(zx + zh)
            new = jnp.tanh(nx + reset * (nh + self.recurrent_bias[...].astype(nh.dtype)))
            return ((1 - update) * new + update * hidden,)
        i, f, g, o = jnp.split(projected + recurrent, 4, -1)
        memory = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(memory), memory)

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
        projected = self.project(inputs).swapaxes(0, 1)  # [T, B, G]: scanned over the leading dimension
        starts = None if segments is None else _starts(segments, valid, self.reverse).T
        carry = self.initial(inputs.shape[0], inputs.dtype)

        def body(carry: Carry, xs: tuple[jax.Array, jax.Array | None, jax.Array | None]) -> tuple[Carry, jax.Array]:
            step_input, exists, start = xs
            if start is not None:
                carry = tuple(jnp.where(start[:, None], 0, part) for part in carry)
            new = self.step(carry, step_input)
            if exists is not None:
                new = tuple(jnp.where(exists[:, None], after, before) for after, before in zip(new, carry, strict=True))
            return new, new[0]

        over = (projected, None if valid is None else valid.T, starts)
        carry, hidden = jax.lax.scan(body, carry, over, reverse=self.reverse)
        return hidden.swapaxes(0, 1), carry


def _starts(segments: Int[Array, "B T"], valid: Bool[Array, "B T"] | None, reverse: bool) -> Bool[Array, "B T"]:
    """Where a new segment begins, seen in the direction of reading; never in steps that don't exist."""
    changes = segments[:, 1:] != segments[:, :-1]
    edge = jnp.zeros_like(changes[:, :1])
    starts = jnp.concatenate([changes, edge] if reverse else [edge, changes], axis=1)
    return starts if valid is None else starts & valid
