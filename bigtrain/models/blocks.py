"""What convolutional networks are made of: blocks over [B, H, W, C] or, with lengths, over [B, T, C].

Where `lengths` are given, what lies beyond a sequence's end is zero between any two layers and counts in no statistic,
so a padded sequence gives what it would give alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.models import layers
from bigtrain.models.batch_norm import BatchNorm
from bigtrain.models.convolution import Convolution, Padding
from bigtrain.models.pooling import pool, pooled_size
from bigtrain.models.stage import Stage

Map = Float[Array, "B *space C"]
Lengths = Int[Array, " B"] | None
EXPANSION = 4  # a bottleneck's channels inside are a fourth of those it gives


@dataclass(frozen=True)
class Style:
    """What all blocks of a network share: spatial dimensions, norm and activation."""

    dims: int
    norm: layers.Norm
    activation: layers.Activation

    @property
    def gain(self) -> float:
        """Of the initial kernels' variance."""
        return 1.0 if self.activation in ("tanh", "sigmoid") else 2.0

    @property
    def activate(self) -> Callable[[jax.Array], jax.Array]:
        """The activation as a function."""
        return layers.activation(self.activation)


def valid(values: Map, lengths: Lengths) -> Bool[Array, "B T 1"] | None:
    """Which steps of each sequence exist; None where all do."""
    return None if lengths is None else (jnp.arange(values.shape[1]) < lengths[:, None])[..., None]


def cleared(values: Map, lengths: Lengths) -> Map:
    """Zeros beyond each sequence's end."""
    found = valid(values, lengths)
    return values if found is None else jnp.where(found, values, jnp.zeros_like(values))


class Unit(nnx.Module):
    """A convolution and its norm; the activation is its caller's."""

    def __init__(
        self,
        features: int,
        channels: int,
        style: Style,
        kernel: int,
        *,
        stride: int = 1,
        padding: Padding = "same",
        bias: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        window, form = (kernel,) * style.dims, {"stride": stride, "padding": padding, "bias": bias}
        self.convolution = Convolution(features, channels, window, **form, gain=style.gain, rngs=rngs)
        self.norm = layers.norm(style.norm, channels, rngs=rngs)

    def __call__(self, values: Map, lengths: Lengths) -> tuple[Map, Lengths]:
        """The normalized sums, and how many steps of each sequence they have."""
        values = self.convolution(values)
        lengths = None if lengths is None else self.convolution.windows(lengths)
        if isinstance(self.norm, BatchNorm):
            return self.norm(values, valid(values, lengths)), lengths
        return self.norm(values), lengths


class Plain(nnx.Module):
    """Convolution, norm, activation; or several side by side, each with its share of the channels."""

    def __init__(self, features: int, stage: Stage, style: Style, *, stride: int, rngs: nnx.Rngs) -> None:
        kernels = stage.kernels or (stage.kernel,)
        edges = [stage.channels * at // len(kernels) for at in range(len(kernels) + 1)]
        form = {"stride": stride, "padding": stage.padding, "bias": stage.bias}
        units = [
            Unit(features, last - first, style, kernel, **form, rngs=rngs)
            for (first, last), kernel in zip(itertools.pairwise(edges), kernels, strict=True)
        ]
        self.style, self.units = style, nnx.List(units)

    def __call__(self, values: Map, lengths: Lengths) -> tuple[Map, Lengths]:
        """The next map, and how many steps of each sequence it has."""
        found = [unit(values, lengths) for unit in self.units]
        joined = found[0][0] if len(found) == 1 else jnp.concatenate([part for part, _ in found], axis=-1)
        return cleared(self.style.activate(joined), found[0][1]), found[0][1]


class Residual(nnx.Module):
    """What its convolutions change is added to the input, before the last activation (He et al. 2015).

    A basic block is two of one size; a bottleneck is 1, size, 1, with the stride in the middle one. Where the input has
    another shape than the output, it passes through a convolution of size 1.
    """

    def __init__(self, features: int, stage: Stage, style: Style, *, stride: int, rngs: nnx.Rngs) -> None:
        channels, size = stage.channels, stage.kernel
        inside = max(1, channels // EXPANSION) if stage.block == "bottleneck" else channels
        plan = {
            "basic": [(inside, size, stride), (channels, size, 1)],
            "bottleneck": [(inside, 1, 1), (inside, size, stride), (channels, 1, 1)],
        }[stage.block]
        before = [features, *(width for width, _, _ in plan)]
        units = [
            Unit(read, width, style, kernel, stride=step, rngs=rngs)
            for read, (width, kernel, step) in zip(before, plan, strict=False)
        ]
        self.style, self.units = style, nnx.List(units)
        changes = stride != 1 or features != channels
        self.shortcut = Unit(features, channels, style, 1, stride=stride, rngs=rngs) if changes else None

    def __call__(self, values: Map, lengths: Lengths) -> tuple[Map, Lengths]:
        """The next map, and how many steps of each sequence it has."""
        kept = values if self.shortcut is None else self.shortcut(values, lengths)[0]
        for unit in self.units[:-1]:
            values, lengths = unit(values, lengths)
            values = cleared(self.style.activate(values), lengths)
        values, lengths = self.units[-1](values, lengths)
        return cleared(self.style.activate(values + kept), lengths), lengths


class Level(nnx.Module):
    """The blocks of a stage, and its pooling."""

    def __init__(self, features: int, stage: Stage, style: Style, *, rngs: nnx.Rngs) -> None:
        kind = Residual if stage.block in ("basic", "bottleneck") else Plain
        blocks = []
        for at in range(stage.repeat):
            read, stride = (stage.channels, 1) if at else (features, stage.stride)
            blocks.append(kind(read, stage, style, stride=stride, rngs=rngs))
        self.stage, self.blocks = stage, nnx.List(blocks)

    def __call__(self, values: Map, lengths: Lengths) -> tuple[Map, Lengths]:
        """The next map, and how many steps of each sequence it has."""
        for block in self.blocks:
            values, lengths = block(values, lengths)
        stage = self.stage
        if not stage.pool:
            return values, lengths
        stride = stage.pool_stride or None
        steps = valid(values, lengths)
        values = pool(values, stage.pool_kind, stage.pool, stride=stride, centred=stage.pool_centred, valid=steps)
        if lengths is not None:
            lengths = pooled_size(lengths, stage.pool, stride, stage.pool_centred)
        return cleared(values, lengths), lengths
