"""Recurrent networks: simple (Elman), GRU and LSTM, stacked and bidirectional."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.models import lookup
from bigtrain.models.embedding import EMBEDDING
from bigtrain.models.layers import Dropout
from bigtrain.models.linear import Linear
from bigtrain.models.outputs import check_extras, output_size
from bigtrain.models.recurrent import Carry, Cell, RecurrentLayer
from bigtrain.parallel.rules import Dim

Sequence = Float[Array, "B T *shape"] | Int[Array, "B T"]


class RNN(nnx.Module):
    """A recurrent network; it embeds tokens, reads an image as rows and a vector as single values."""

    def __init__(
        self,
        spec: Spec,
        *,
        cell: Cell = "lstm",
        width: PositiveInt = 128,
        layers: PositiveInt = 1,
        bidirectional: bool = False,
        embedding: PositiveInt = 64,
        output: Literal["auto", "last", "sequence"] = "auto",
        dropout: Rate = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Builds the layers for the data's shapes.

        Args:
            spec: the data; tokens are embedded, [H, W] is read as H steps of W values, [D] as D steps of one value.
            cell: the recurrence: simple, gru or lstm.
            width: units of each layer and direction.
            layers: how many recurrent layers are stacked.
            bidirectional: also read the sequence backwards, and join both at each step.
            embedding: size of a token's vector.
            output: read the targets from the state after the last step, or one at each step; auto does the latter where
                the targets have as many steps as the inputs.
            dropout: share of the values zeroed between layers and before the output, in training.
            rngs: random streams for the initial values and for dropout.
        """
        self.per_step = _per_step(spec, output)
        tokens = len(spec.vocabulary or ()) if spec.inputs.kind == "tokens" else 0
        predicts_next = tokens > 0 and spec.targets is not None and spec.targets.kind == "tokens"
        if bidirectional and predicts_next:
            raise ConfigError("model.bidirectional", "a language model must not read what it has to predict")
        labels = spec.targets.shape if spec.targets and spec.targets.kind == "label" and output == "last" else ()
        outputs = output_size(spec, "RNN", per_step=self.per_step or labels != ())
        check_extras(spec, "RNN", takes=("lengths", "segments"))
        self.shape = (*labels, outputs) if labels else ()  # what the last state gives, if more than a vector
        self.embed = nnx.Embed(tokens, embedding, embedding_metadata=EMBEDDING, rngs=rngs) if tokens else None
        features = embedding if tokens else math.prod(spec.inputs.shape[1:])
        self.forward = _stack(features, width, layers, cell, bidirectional, reverse=False, rngs=rngs)
        self.backward = _stack(features, width, layers, cell, True, reverse=True, rngs=rngs) if bidirectional else None
        self.dropout = Dropout(dropout, rngs=rngs)
        names: tuple[Dim, Dim] = ("features", "vocabulary" if predicts_next else None)
        read = width * (2 if bidirectional else 1)
        self.output = Linear(read, math.prod((*labels, outputs)), dims=names, rngs=rngs)

    def __call__(
        self, inputs: Sequence, *, lengths: Int[Array, " B"] | None = None, segments: Int[Array, "B T"] | None = None
    ) -> Float[Array, "B *steps V"]:
        """Logits or predicted values: [B, V] after the last valid step, or [B, T, V] of each step.

        Args:
            inputs: tokens [B, T], rows [B, T, D], or single values [B, T].
            lengths: valid steps of each sequence; what follows has no influence.
            segments: numbers the sequences packed into a row; the state restarts where it changes.
        """
        result = self.scores(self.hidden(inputs, lengths=lengths, segments=segments))
        return result.reshape(-1, *self.shape) if self.shape else result

    def hidden(
        self, inputs: Sequence, *, lengths: Int[Array, " B"] | None = None, segments: Int[Array, "B T"] | None = None
    ) -> Float[Array, "B *steps H"]:
        """What `scores` turns into the outputs; the arguments are those of a call."""
        values = self._embedded(inputs)
        valid = None if lengths is None else jnp.arange(values.shape[1]) < lengths[:, None]
        last = values[:, -1]
        for depth, layer in enumerate(self.forward):
            if depth:
                values = self.dropout(values)
            hidden, last = layer(values, valid=valid, segments=segments)
            if self.backward is not None:
                behind, first = self.backward[depth](values, valid=valid, segments=segments)
                hidden, last = jnp.concatenate([hidden, behind], -1), jnp.concatenate([last, first], -1)
            values = hidden
        return self.dropout(values if self.per_step else last)

    def scores(self, values: Float[Array, "*shape H"]) -> Float[Array, "*shape V"]:
        """The outputs from what the last layer gave."""
        return self.output(values)

    def initial(self, batch: int, length: int) -> tuple[Carry, ...]:
        """The state before the first token, for generation; it has the same size for any `length`."""
        return tuple(layer.initial(batch, jnp.dtype(jnp.float32)) for layer in self.forward)

    def step(self, carry: tuple[Carry, ...], tokens: Int[Array, " B"]) -> tuple[tuple[Carry, ...], Float[Array, "B V"]]:
        """One token further: the new state and the logits of the next token."""
        values = self._embedded(tokens[:, None])[:, 0]
        states = []
        for layer, state in zip(self.forward, carry, strict=True):
            states.append(layer.step(state, layer.project(values)))
            values = states[-1][0]
        return tuple(states), self.scores(values)

    def _embedded(self, inputs: jax.Array) -> Float[Array, "B T D"]:
        if self.embed is not None:  # called as a layer, it would compute in the type it was made with, f32
            # the layers read one step after the other: numbers of tokens are turned round, not their vectors
            return lookup.rows(self.embed.embedding[...], inputs.swapaxes(0, 1)).swapaxes(0, 1)
        return inputs.reshape(*inputs.shape[:2], -1)


def _per_step(spec: Spec, output: Literal["auto", "last", "sequence"]) -> bool:
    """Whether there is an output at each step; refuses what the targets can't be compared with."""
    if spec.targets is None:  # refused where the outputs are counted
        return False
    possible = spec.targets.shape[:1] == spec.inputs.shape[:1] != ()
    if (output == "sequence" and not possible) or (output == "last" and spec.targets.kind == "tokens" and possible):
        shape = list(spec.targets.shape)
        raise ConfigError("model.output", f"{output!r} does not fit targets of shape {shape}", hint="use auto")
    return possible and output != "last"


def _stack(
    features: int, width: int, depth: int, cell: Cell, both: bool, *, reverse: bool, rngs: nnx.Rngs
) -> nnx.List[RecurrentLayer]:
    sizes = [features] + [width * (2 if both else 1)] * (depth - 1)
    return nnx.List([RecurrentLayer(size, width, cell=cell, reverse=reverse, rngs=rngs) for size in sizes])
