"""The recurrent encoder and decoder, with and without attention.

Legend of dim letters: B batch, S steps of the source, T steps of the target, Q queries, E embedding, H hidden, M width
of the memory (2H if the encoder reads both ways), V symbols of the target.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.config.values import PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.models import lookup
from bigtrain.models.embedding import EMBEDDING
from bigtrain.models.layers import Dropout
from bigtrain.models.linear import Linear
from bigtrain.models.recurrent import GATES, Carry, RecurrentLayer
from bigtrain.models.sequence_pairs import check_pairs
from bigtrain.parallel.naming import batched, named

Attend = Literal["none", "bahdanau", "luong"]
Memory = dict[str, Any]
"""The source as read: `states`, the decoder's first state by layer; and for attention `values`, `keys` and `valid`."""


class Seq2Seq(nnx.Module):
    """A recurrent encoder–decoder (Sutskever et al. 2014, Cho et al. 2014), with attention (Bahdanau et al. 2015)."""

    objective = "seq2seq"

    def __init__(
        self,
        spec: Spec,
        *,
        cell: Literal["gru", "lstm"] = "lstm",
        width: PositiveInt = 128,
        layers: PositiveInt = 1,
        embedding: PositiveInt = 64,
        attention: Attend = "bahdanau",
        bidirectional: bool = False,
        reverse_source: bool = False,
        dropout: Rate = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Builds encoder and decoder for the data's vocabularies.

        Args:
            spec: the data: pairs of token sequences.
            cell: the recurrence: gru or lstm.
            width: units of each layer (and, in the encoder, each direction).
            layers: recurrent layers of the encoder, and of the decoder.
            embedding: size of a token's vector.
            attention: none: the decoder knows the encoder's last state alone; bahdanau: additive, with the state before
                each step; luong: multiplicative ('general'), with the state after it (Luong et al. 2015).
            bidirectional: the encoder reads the source both ways.
            reverse_source: the encoder reads the source from its end (Sutskever et al. 2014).
            dropout: share of the values zeroed on the embeddings, between layers and before the output, in training.
            rngs: random streams for the initial values and for dropout.
        """
        sizes = check_pairs(spec, "Seq2Seq")
        self.start, self.end, self.longest = sizes.start, sizes.end, sizes.longest
        self.attention, self.width = attention, width
        self.source_embed = nnx.Embed(sizes.source, embedding, embedding_metadata=EMBEDDING, rngs=rngs)
        self.target_embed = nnx.Embed(sizes.target, embedding, embedding_metadata=EMBEDDING, rngs=rngs)
        memory = width * (2 if bidirectional else 1)
        options: dict[str, Any] = {"cell": cell, "rngs": rngs}
        wide = [embedding, *[memory] * (layers - 1)]
        self.forward = nnx.List([RecurrentLayer(size, width, reverse=reverse_source, **options) for size in wide])
        self.backward = (
            nnx.List([RecurrentLayer(size, width, reverse=not reverse_source, **options) for size in wide])
            if bidirectional
            else None
        )
        parts = 2 if cell == "lstm" else 1  # of a state: an LSTM has memory cells beside the hidden state
        self.bridge = (
            nnx.List([Linear(memory, width, rngs=rngs) for _ in range(layers * parts)]) if bidirectional else None
        )
        deep = [embedding, *[width] * (layers - 1)]
        self.decoder = nnx.List([RecurrentLayer(size, width, **options) for size in deep])
        additive = attention == "bahdanau"
        self.query = Linear(width, width, use_bias=False, rngs=rngs) if additive else None
        self.key = Linear(memory, width, use_bias=additive, rngs=rngs) if attention != "none" else None
        self.score = Linear(width, 1, use_bias=False, rngs=rngs) if additive else None
        gates = GATES[cell] * width
        self.context = Linear(memory, gates, use_bias=False, rngs=rngs) if additive else None
        self.dropout = Dropout(dropout, rngs=rngs)
        self.readout = Linear(width + memory, width, rngs=rngs) if attention != "none" else None
        self.output = Linear(width, sizes.target, dims=("features", "vocabulary"), rngs=rngs)

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
        embedded = self.dropout(_rows(self.target_embed, previous))
        projected = named(self.decoder[0].project(embedded).swapaxes(0, 1), None, "batch", None)  # [T, B, G]
        deeper = len(self.decoder) - 1
        ones = jnp.ones((deeper, *projected.shape[:2], self.width), embedded.dtype)
        masks = self.dropout(ones).swapaxes(0, 1) if deeper else None  # drawn here: a scan holds no random stream
        layers = [layer.put_together(projecting=depth > 0) for depth, layer in enumerate(self.decoder)]

        def body(states: tuple[Carry, ...], xs: tuple[jax.Array, jax.Array | None]) -> tuple[Any, Any]:
            states, read, projected = batched((states, memory, xs[0]))
            states, context = self._advance(layers, states, read, projected, xs[1])
            return states, (states[-1][0], context)

        _, (hidden, context) = jax.lax.scan(body, memory["states"], (projected, masks))
        hidden = named(hidden, None, "batch", None).swapaxes(0, 1)
        return self._logits(hidden, None if context is None else context.swapaxes(0, 1), memory)

    def encode(self, inputs: Int[Array, "B S"], *, lengths: Int[Array, " B"] | None = None) -> Memory:
        """Reads the source; every array of the result begins with the batch."""
        values = self.dropout(_rows(self.source_embed, inputs))
        lengths = jnp.full(len(inputs), inputs.shape[1]) if lengths is None else lengths
        valid = jnp.arange(inputs.shape[1]) < lengths[:, None]
        states: list[Carry] = []
        for depth, layer in enumerate(self.forward):
            if depth:
                values = self.dropout(values)
            hidden, state = layer.read(values, valid=valid)
            if self.backward is not None:
                behind, first = self.backward[depth].read(values, valid=valid)
                hidden = jnp.concatenate([hidden, behind], -1)
                state = self._bridged(depth, state, first)
            states.append(state)
            values = hidden
        memory: Memory = {"states": tuple(states)}
        if self.key is not None:
            memory |= {"values": values, "keys": self.key(values), "valid": valid}
        return memory

    def initial(self, memory: Memory, length: int) -> tuple[Memory, tuple[Carry, ...]]:
        """The state before the first of up to `length` tokens, which doesn't decide its size here."""
        rest = {name: value for name, value in memory.items() if name != "states"}
        return rest, memory["states"]

    def step(
        self, carry: tuple[Memory, tuple[Carry, ...]], tokens: Int[Array, " B"]
    ) -> tuple[tuple[Memory, tuple[Carry, ...]], Float[Array, "B V"]]:
        """One token further: the new state and the logits of the next token."""
        memory, states = carry
        projected = self.decoder[0].project(_rows(self.target_embed, tokens))
        states, context = self._advance(list(self.decoder), states, memory, projected, None)
        logits = self._logits(states[-1][0][:, None], None if context is None else context[:, None], memory)
        return (memory, states), logits[:, 0]

    def _advance(
        self,
        decoder: list[RecurrentLayer],
        states: tuple[Carry, ...],
        memory: Memory,
        projected: jax.Array,
        masks: jax.Array | None,
    ) -> tuple[tuple[Carry, ...], jax.Array | None]:
        """One step of the decoder's layers; the context [B, M] where the state before the step chose it."""
        context = None
        if self.attention == "bahdanau":
            assert self.context is not None
            context = self._attended(states[-1][0][:, None], memory)[:, 0]
            projected = projected + self.context(context)
        new = [decoder[0].step(states[0], projected)]
        for depth, layer in enumerate(decoder[1:], 1):
            below = new[-1][0] if masks is None else new[-1][0] * masks[depth - 1]
            new.append(layer.step(states[depth], batched(layer.project(below))))
        return tuple(new), context

    def _attended(self, queries: Float[Array, "B Q H"], memory: Memory) -> Float[Array, "B Q M"]:
        """The mean of the memory's values, weighted by how well their keys fit each query."""
        if self.query is not None and self.score is not None:
            together = jnp.tanh(self.query(queries)[:, :, None] + memory["keys"][:, None])  # [B, Q, S, H]
            scores = self.score(together)[..., 0]
        else:
            scores = jnp.einsum("bqh,bsh->bqs", queries, memory["keys"])
        return jnp.einsum("bqs,bsm->bqm", _shares(scores, memory["valid"]), memory["values"])

    def _logits(
        self, hidden: Float[Array, "B T H"], context: Float[Array, "B T M"] | None, memory: Memory
    ) -> Float[Array, "B T V"]:
        if self.readout is not None:
            context = self._attended(hidden, memory) if context is None else context
            hidden = jnp.tanh(self.readout(jnp.concatenate([hidden, context], -1)))
        logits: jax.Array = self.output(self.dropout(hidden))
        return logits

    def _bridged(self, depth: int, state: Carry, behind: Carry) -> Carry:
        """The decoder's first state from the last ones of both directions."""
        assert self.bridge is not None
        layers = list(self.bridge)[depth * len(state) : (depth + 1) * len(state)]
        both = [jnp.concatenate(parts, -1) for parts in zip(state, behind, strict=True)]
        return tuple(jnp.tanh(layer(part)) for layer, part in zip(layers, both, strict=True))


def _rows(embed: nnx.Embed, tokens: jax.Array) -> jax.Array:
    """The vectors of tokens; called as a layer, it would compute in the type it was made with, f32."""
    return lookup.rows(embed.embedding[...], tokens)


def _shares(scores: Float[Array, "B Q S"], valid: Bool[Array, "B S"]) -> Float[Array, "B Q S"]:
    """Softmax over the steps that exist; the others get exactly nothing."""
    least = jnp.finfo(jnp.float32).min
    shares = jax.nn.softmax(jnp.where(valid[:, None], scores.astype(jnp.float32), least))
    return shares.astype(scores.dtype)
