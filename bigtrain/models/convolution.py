"""Convolution in one or two dimensions, with gradients that stay fast inside a loop on the CPU.

XLA gives the two backward convolutions inside a `while` body dimension orders for which its CPU backend has no fast
path: a step of LeNet-5 in a loop takes 3 times as long as outside of one (`scripts/bench_conv.py`). Written out
as ordinary convolutions over [B, H, W, C] and [H, W, C, C'], as below, they are as fast as outside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from bigtrain.config.values import NonNegativeInt
from bigtrain.models import convolution_rows
from bigtrain.models.linear import product

Padding = Literal["same"] | NonNegativeInt
Pads = tuple[tuple[int, int], ...]  # zeros before and after, for each spatial dimension
LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


class Convolution(nnx.Module):
    """A convolution over [B, T, C] or [B, H, W, C] with the parameters of `nnx.Conv`: kernel [*window, C, C'], bias."""

    def __init__(
        self,
        features: int,
        channels: int,
        window: Sequence[int],
        *,
        stride: int = 1,
        padding: Padding = "same",
        bias: bool = True,
        gain: float = 2.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Draws the kernel with variance `gain` / fan-in: 2 before a rectifier (He et al. 2015), 1 otherwise.

        Args:
            features: channels of the input.
            channels: channels of the output.
            window: size of the kernel in each spatial dimension.
            stride: steps between two windows, in each dimension.
            padding: zeros at each end; 'same' is what gives ⌈size / stride⌉ outputs.
            bias: whether a number is added to each channel.
            gain: see above.
            rngs: random streams for the initial values.
        """
        self.stride, self.padding = stride, padding
        draw = nnx.initializers.variance_scaling(gain, "fan_in", "truncated_normal")
        names = (*(None,) * len(window), "features", "channels")
        self.kernel = nnx.Param(draw(rngs.params(), (*window, features, channels), jnp.float32), dims=names)
        self.bias = nnx.Param(jnp.zeros(channels), dims=("channels",)) if bias else None

    def __call__(self, values: Float[Array, "B *space C"]) -> Float[Array, "B *windows D"]:
        """Computes in the type of the kernel."""
        kernel = self.kernel[...]
        window = kernel.shape[:-2]
        pads = tuple(map(self._pads, values.shape[1:-1], window))
        result = convolve(values.astype(kernel.dtype), kernel, (self.stride,) * len(window), pads)
        return result if self.bias is None else result + self.bias[...]

    def windows(self, lengths: Int[Array, " B"]) -> Int[Array, " B"]:
        """How many outputs sequences of these lengths have; a sequence shorter than the window has one."""
        return jnp.maximum(windows(lengths, self.kernel.shape[0], self.stride, self.padding), 1)

    def _pads(self, size: int, window: int) -> tuple[int, int]:
        if self.padding != "same":
            return (self.padding, self.padding)
        return same(size, window, self.stride)


def same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Padding that gives ⌈size / stride⌉ windows; what comes before doesn't depend on the size.

    So the outputs of a short sequence are the same whether zeros follow it or nothing does.
    """
    before = (window - 1) // 2
    return before, max(0, (-(-size // stride) - 1) * stride + window - size - before)


def windows(size: Any, window: int, stride: int, padding: Padding) -> Any:
    """How many windows fit into so many values (an integer or an array of them); none or fewer where none does."""
    return -(-size // stride) if padding == "same" else (size + 2 * padding - window) // stride + 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    values: Float[Array, "B *space C"], kernel: Float[Array, "*window C D"], strides: tuple[int, ...], pads: Pads
) -> Float[Array, "B *windows D"]:
    """The cross-correlation of values and kernel; equals `lax.conv_general_dilated`, as do its gradients."""
    return _convolved(values, kernel, strides, pads)


def _convolved(values: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    direct = functools.partial(_direct, strides, pads)
    # a plain product: one with a gradient of its own inside of the forward pass could not be differentiated forwards
    by_rows = functools.partial(_by_rows, strides, pads, multiply=jnp.matmul)
    on_cpu = by_rows if _rows_pay(values, kernel, strides, pads) else direct
    return lax.platform_dependent(values, kernel, cpu=on_cpu, default=direct)


def _direct(strides: tuple[int, ...], pads: Pads, values: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(values, kernel, strides, pads, dimension_numbers=LAYOUTS[len(strides)])


def _by_rows(
    strides: tuple[int, ...], pads: Pads, values: jax.Array, kernel: jax.Array, multiply: Callable[..., Any] = product
) -> jax.Array:
    return convolution_rows.convolve_rows(values, kernel, strides, pads, multiply)


def _rows_pay(values: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> bool:
    if len(pads) != 2:
        return False
    return convolution_rows.pays(values.shape[2] + sum(pads[1]), kernel.shape[1], max(strides), *kernel.shape[2:])


def _forward(
    values: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolved(values, kernel, strides, pads), (values, kernel)


def _backward(
    strides: tuple[int, ...], pads: Pads, kept: tuple[jax.Array, jax.Array], grads: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Accelerators know JAX's own backward convolutions as such; which is used is settled when XLA's input is made."""
    direct, by_rows, written_out = (functools.partial(way, strides, pads) for way in (_direct, _by_rows, _written_out))
    on_cpu = functools.partial(_pulled, by_rows) if _rows_pay(*kept, strides, pads) else written_out
    dvalues, dkernel = lax.platform_dependent(*kept, grads, cpu=on_cpu, default=functools.partial(_pulled, direct))
    return dvalues, dkernel


def _pulled(
    way: Callable[..., jax.Array], values: jax.Array, kernel: jax.Array, grads: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """JAX's own gradient of a way to convolve."""
    _, pull = jax.vjp(way, values, kernel)
    return pull(grads)


def _written_out(
    strides: tuple[int, ...], pads: Pads, values: jax.Array, kernel: jax.Array, grads: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rank = len(strides)
    space, layout, ones = range(rank), LAYOUTS[rank], (1,) * rank
    sizes, windows = values.shape[1:-1], kernel.shape[:rank]
    spread = [(number - 1) * stride + 1 for number, stride in zip(grads.shape[1:-1], strides, strict=True)]
    # by the values: the gradients, spread out by the stride, under the kernel turned round
    before = [windows[d] - 1 - pads[d][0] for d in space]
    around = [(before[d], sizes[d] + windows[d] - 1 - spread[d] - before[d]) for d in space]
    turned = jnp.flip(kernel, tuple(space)).swapaxes(-1, -2)
    dvalues = lax.conv_general_dilated(grads, turned, ones, around, lhs_dilation=strides, dimension_numbers=layout)
    # by the kernel: channels are the examples, examples are the channels, and the gradients are the window
    around = [(pads[d][0], windows[d] - 1 + spread[d] - sizes[d] - pads[d][0]) for d in space]
    by_channel = jnp.moveaxis(values, (-1, 0), (0, -1))  # [C, *space, B]
    window = jnp.moveaxis(grads, 0, -2)  # [*windows, B, D]
    dkernel = lax.conv_general_dilated(by_channel, window, ones, around, rhs_dilation=strides, dimension_numbers=layout)
    return dvalues, jnp.moveaxis(dkernel, 0, -2)


convolve.defvjp(_forward, _backward)
