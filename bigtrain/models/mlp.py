"""The multilayer perceptron."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from bigtrain.config.values import PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.models import layers
from bigtrain.models.embedding import TOKEN_WIDTH, Bag, Categories, width_for
from bigtrain.models.linear import Linear
from bigtrain.models.outputs import check_extras, output_size

DEVIATION = 0.1  # of embeddings at the start: small beside numbers of deviation 1, so that rare values stay so


class MLP(nnx.Module):
    """Fully connected layers over the flattened input; no hidden layer makes it a linear model.

    Categories are embedded and stand beside the numbers; tokens are a bag of embeddings, their mean.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        widths: tuple[PositiveInt, ...] = (128, 128),
        activation: layers.Activation = "relu",
        norm: layers.Norm = "none",
        dropout: Rate = 0.0,
        embedding: PositiveInt | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        """Builds the layers for the data's shapes.

        Args:
            spec: the data; its inputs are flattened, its targets set the width of the output.
            widths: units of each hidden layer; [] is a linear model.
            activation: the function after each hidden layer.
            norm: normalisation before each activation.
            dropout: share of the hidden units zeroed in training.
            embedding: numbers for each token, or each value of a categorical column; by default 64 for a token, and
                1.6·n^0.56, at most 64, in a column of n values.
            rngs: random streams for the initial values and for dropout.
        """
        tokens = spec.inputs.kind == "tokens"
        check_extras(spec, "MLP", takes=("categories", *(("lengths",) if tokens else ())))
        categories = spec.inputs if spec.inputs.kind == "categories" else spec.fields.get("categories")
        self.kind = spec.inputs.kind
        size = 0 if self.kind == "categories" else math.prod(spec.inputs.shape)
        if tokens:
            size = embedding or TOKEN_WIDTH
            self.bag = Bag(len(spec.vocabulary or ()), size, rngs=rngs)
        if categories is not None:
            own = [embedding or width_for(values - 1) for values in categories.sizes]
            self.categories = Categories(categories.sizes, own, deviation=DEVIATION, rngs=rngs)
            size += sum(own)
        sizes = (size, *widths)
        self.activation = activation
        self.hidden = nnx.List(
            [
                Linear(size, width, dims=("features", "hidden"), rngs=rngs)
                for size, width in zip(sizes, widths, strict=False)
            ]
        )
        self.norms = nnx.List([layers.norm(norm, width, rngs=rngs) for width in widths])
        self.dropout = layers.Dropout(dropout, rngs=rngs)
        self.output = Linear(sizes[-1], output_size(spec, "MLP"), dims=("features", None), rngs=rngs)

    def __call__(
        self,
        inputs: Shaped[Array, "B *shape"],
        lengths: Int[Array, "B"] | None = None,
        categories: Int[Array, "B K"] | None = None,
    ) -> Float[Array, "B V"]:
        """Logits, or the predicted values of a regression."""
        values = self._read(inputs, lengths, categories)
        apply = layers.activation(self.activation)
        for linear, normalize in zip(self.hidden, self.norms, strict=True):
            values = self.dropout(apply(normalize(linear(values))))
        result: jax.Array = self.output(values)
        return result

    def _read(self, inputs: jax.Array, lengths: jax.Array | None, categories: jax.Array | None) -> Float[Array, "B D"]:
        if self.kind == "categories":
            return jnp.concatenate(self.categories(inputs), axis=1)
        values = self.bag(inputs, lengths) if self.kind == "tokens" else inputs.reshape(inputs.shape[0], -1)
        if categories is None:
            return values
        return jnp.concatenate([values, *self.categories(categories)], axis=1)
