"""The multilayer perceptron."""

from __future__ import annotations

import math

import jax
from flax import nnx
from jaxtyping import Array, Float

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.models import layers
from bigtrain.models.outputs import check_extras, output_size


class MLP(nnx.Module):
    """Fully connected layers over the flattened input; no hidden layer makes it a linear model."""

    def __init__(
        self,
        spec: Spec,
        *,
        widths: tuple[PositiveInt, ...] = (128, 128),
        activation: layers.Activation = "relu",
        norm: layers.Norm = "none",
        dropout: Rate = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Builds the layers for the data's shapes.

        Args:
            spec: the data; its inputs are flattened, its targets set the width of the output.
            widths: units of each hidden layer; [] is a linear model.
            activation: the function after each hidden layer.
            norm: normalisation before each activation.
            dropout: share of the hidden units zeroed in training.
            rngs: random streams for the initial values and for dropout.
        """
        if spec.inputs.kind == "tokens":
            hint = "model=rnn reads tokens"
            raise ConfigError("model", f"MLP reads real values, and data {spec.name!r} has tokens", hint=hint)
        check_extras(spec, "MLP")
        sizes = (math.prod(spec.inputs.shape), *widths)
        self.activation = activation
        self.hidden = nnx.List([nnx.Linear(size, width, rngs=rngs) for size, width in zip(sizes, widths, strict=False)])
        self.norms = nnx.List([layers.norm(norm, width, rngs=rngs) for width in widths])
        self.dropout = layers.Dropout(dropout, rngs=rngs)
        self.output = nnx.Linear(sizes[-1], output_size(spec, "MLP"), rngs=rngs)

    def __call__(self, inputs: Float[Array, "B *shape"]) -> Float[Array, "B V"]:
        """Logits, or the predicted values of a regression."""
        values = inputs.reshape(inputs.shape[0], -1)  # [B, D]
        apply = layers.activation(self.activation)
        for linear, normalize in zip(self.hidden, self.norms, strict=True):
            values = self.dropout(apply(normalize(linear(values))))
        result: jax.Array = self.output(values)
        return result
