"""Convolutional networks: LeNet, AlexNet, VGG, ResNet and whatever else is made of their stages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.models import layers
from bigtrain.models.blocks import Level, Style, cleared, valid
from bigtrain.models.grid import Dims, Grid
from bigtrain.models.linear import Linear
from bigtrain.models.outputs import check_extras, output_size
from bigtrain.models.pooling import Reduce, reduced, shrunk
from bigtrain.models.stage import Stage, read_stages

SMALL = 64  # pixels or steps a side: up to here `stem: auto` takes an image for small


class CNN(nnx.Module):
    """A convolutional network for images (2-D), curves and sequences (1-D), made of stages."""

    def __init__(
        self,
        spec: Spec,
        *,
        stages: tuple[dict[str, Any], ...] = ({"channels": 32, "pool": 2}, {"channels": 64, "pool": 2}),
        head: tuple[PositiveInt, ...] = (128,),
        reduce: Reduce = "flatten",
        width: PositiveFloat = 1.0,
        stem: Literal["auto", "imagenet", "small"] = "auto",
        dims: Dims = "auto",
        pad_to: NonNegativeInt = 0,
        cells: PositiveInt = 7,
        embedding: PositiveInt = 128,
        activation: layers.Activation = "relu",
        norm: layers.Norm = "none",
        dropout: Rate = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Builds the layers for the data's shapes.

        Args:
            spec: the data: images [H, W(, C)], vectors, sequences [T, C] with lengths, or tokens, which are embedded.
            stages: a table each: channels, block (plain, parallel, basic, bottleneck), repeat, kernel, kernels, stride,
                padding, bias, pool, pool_stride, pool_kind, pool_centred; in `small`, what differs for small images.
            head: units of the fully connected layers after the stages; for small images at most what they read.
            reduce: what the head reads: mean or greatest values over all positions, or all values (flatten).
            width: multiplies the channels of the stages and the units of the head.
            stem: stages as for ImageNet or as in their `small`; auto is small where no side is longer than 64.
            dims: 1 convolves over time, 2 over height and width; auto is 2 for images without lengths.
            pad_to: smaller inputs are filled up with zeros to this size.
            cells: before `flatten`, a larger map is averaged into so many cells a side.
            embedding: size of a token's vector.
            activation: the function after each layer but the last.
            norm: normalization before each activation of the stages.
            dropout: share of the values zeroed before each layer of the head, in training.
            rngs: random streams for the initial values and for dropout.
        """
        self.grid = Grid(spec, dims=dims, pad_to=pad_to, embedding=embedding, rngs=rngs)
        _check_fields(spec, self.grid.dims)
        small = stem == "small" or (stem == "auto" and max(self.grid.sizes) <= SMALL)
        plan = read_stages(stages, self.grid.sizes, small=small, width=width)
        style = Style(self.grid.dims, norm, activation)
        self.reduce, self.cells = reduce, cells
        self.levels = _levels(self.grid.channels, plan, style, rngs)
        reads = plan[-1].channels * (_cells(plan, self.grid.sizes, cells) if reduce == "flatten" else 1)
        units = [min(max(1, round(unit * width)), reads if small else unit * 2**20) for unit in head]
        self.head = Head([reads, *units, output_size(spec, "CNN")], style, dropout, rngs=rngs)

    def __call__(self, inputs: jax.Array, *, lengths: Int[Array, " B"] | None = None) -> Float[Array, "B V"]:
        """Logits, or the predicted values of a regression.

        Args:
            inputs: [B, H, W], [B, H, W, C], [B, D], [B, T, C] or tokens [B, T].
            lengths: valid steps of each sequence; what follows has no influence.
        """
        values = cleared(self.grid(inputs), lengths)
        for level in self.levels:
            values, lengths = level(values, lengths)
        values = shrunk(values, self.cells) if self.reduce == "flatten" else values
        result: jax.Array = self.head(reduced(values, self.reduce, valid(values, lengths)))
        return result


class Head(nnx.Module):
    """Fully connected layers with dropout before each."""

    def __init__(self, units: Sequence[int], style: Style, dropout: float, *, rngs: nnx.Rngs) -> None:
        draw = nnx.initializers.variance_scaling(style.gain, "fan_in", "truncated_normal")
        pairs = itertools.pairwise(units[:-1])
        self.style = style
        self.hidden = nnx.List(
            [Linear(read, width, kernel_init=draw, dims=("features", "hidden"), rngs=rngs) for read, width in pairs]
        )
        self.dropout = layers.Dropout(dropout, rngs=rngs)
        self.output = Linear(*units[-2:], dims=("features", None), rngs=rngs)

    def __call__(self, values: Float[Array, "B D"]) -> Float[Array, "B V"]:
        """The outputs of the network."""
        for linear in self.hidden:
            values = self.style.activate(linear(self.dropout(values)))
        result: jax.Array = self.output(self.dropout(values))
        return result


def _levels(features: int, plan: tuple[Stage, ...], style: Style, rngs: nnx.Rngs) -> nnx.List[Level]:
    reads = [features, *(stage.channels for stage in plan)]
    return nnx.List([Level(read, stage, style, rngs=rngs) for read, stage in zip(reads, plan, strict=False)])


def _check_fields(spec: Spec, dims: int) -> None:
    """Refuses what the network would have to ignore, and a target at each step of a sequence."""
    check_extras(spec, "CNN", takes=("lengths",) if dims == 1 else ())
    targets = spec.targets
    if targets is not None and "lengths" in spec.fields and targets.shape[:1] == spec.inputs.shape[:1]:
        problem = f"CNN gives one answer an example, and data {spec.name!r} has one at each step"
        raise ConfigError("model", problem, hint="model=rnn gives one at each step")


def _cells(plan: tuple[Stage, ...], sizes: tuple[int, ...], most: int) -> int:
    """How many positions are left after all stages, where a larger map is averaged into `most` a side."""
    for stage in plan:
        sizes = tuple(stage.size(size) for size in sizes)
    return math.prod(min(size, most) for size in sizes)
