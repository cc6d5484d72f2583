"""A linear layer whose gradient is fast on the CPU, and several of the same values as one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from bigtrain.parallel import naming
from bigtrain.parallel.rules import Dim


class Linear(nnx.Linear):
    """`nnx.Linear`: the same parameters, initial values and results; see `product` for what differs.

    Args:
        features: numbers of an input.
        outputs: numbers of a result.
        dims: what these two dimensions are called in the rules of a mesh.
        options: those of `nnx.Linear`.
    """

    def __init__(self, features: int, outputs: int, *, dims: tuple[Dim, Dim] = (None, None), **options: Any) -> None:
        names = {"kernel_metadata": {"dims": dims}, "bias_metadata": {"dims": dims[1:]}}
        super().__init__(features, outputs, **names, **options)

    def __call__(self, inputs: Float[Array, "*B D"]) -> Float[Array, "*B H"]:  # type: ignore[override]
        """Computes in the widest of the types of inputs, kernel and bias."""
        kernel, bias = self.kernel[...], None if self.bias is None else self.bias[...]
        dtype = jnp.result_type(inputs, kernel, *([] if bias is None else [bias]))
        result = product(inputs.astype(dtype), kernel.astype(dtype))
        return result if bias is None else result + bias.astype(dtype)


@jax.custom_vjp
def product(values: Float[Array, "*B D"], kernel: Float[Array, "D H"]) -> Float[Array, "*B H"]:
    """The matrix product, as are its gradients.

    XLA's CPU backend copies one factor of valuesᵀ·grads, the kernel's gradient, to turn it round. JAX's own rule leaves
    it the activations of all tokens; written out over two dimensions, with whatever is smaller turned round (that
    factor, or the other one and the result), a step of a Transformer takes 14% less (benchmarks/LOG.md).
    """
    return values @ kernel


def _forward(values: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return values @ kernel, (values, kernel)  # not `product`, inside of which `remat=dots` would see no product to keep


def _backward(kept: tuple[jax.Array, jax.Array], grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    if naming.ways("time") > 1:  # tokens in a row of one dimension could not stay split over the devices
        return _pulled(*kept, grads)
    dvalues, dkernel = lax.platform_dependent(*kept, grads, cpu=_turned, default=_pulled)
    return dvalues, dkernel


def _pulled(values: jax.Array, kernel: jax.Array, grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    """JAX's own gradient."""
    dvalues, dkernel = jax.vjp(jnp.matmul, values, kernel)[1](grads)
    return dvalues, dkernel


def _pulled_once(values: jax.Array, kernel: jax.Array, grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same, of gradients that XLA puts side by side once, not once for either product; 2% of that step."""
    return _pulled(values, kernel, lax.optimization_barrier(grads))


def _turned(values: jax.Array, kernel: jax.Array, grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    tokens, back = values.reshape(-1, values.shape[-1]), grads.reshape(-1, grads.shape[-1])
    dvalues = (back @ kernel.T).reshape(values.shape)
    if tokens.size <= back.size + kernel.size:
        return dvalues, tokens.T @ back
    return dvalues, lax.optimization_barrier(back.T @ tokens).T  # or XLA undoes it


product.defvjp(_forward, _backward)


def together(values: Float[Array, "*B D"], layers: Sequence[Linear]) -> list[Float[Array, "*B H"]]:
    """What several layers make of the same values, each as by a call; on a CPU or GPU by one product for all of them.

    For queries, keys and values that takes 5% less of a step of a small Transformer on a CPU, 3% on an H100; for gate
    and up, whose gradients would be copied to lie side by side, it doesn't pay. Split over devices each layer has a
    product of its own: a part of every kernel is not a part of their row.
    """
    split = any(naming.ways(dim) > 1 for dim in ("heads", "kv_heads", "width", "time"))
    if naming.target().platform not in ("cpu", "gpu") or split:
        return [layer(values) for layer in layers]
    kernels, biases = [layer.kernel[...] for layer in layers], [layer.bias for layer in layers]
    dtype = jnp.result_type(values, *kernels, *(bias[...] for bias in biases if bias is not None))
    found = _joint(values.astype(dtype), tuple(kernel.astype(dtype) for kernel in kernels))
    return [part if bias is None else part + bias[...].astype(dtype) for part, bias in zip(found, biases, strict=True)]


@jax.custom_vjp
def _joint(values: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """The products with kernels [D, H], [D, H'], …; put side by side anew for the gradient, so that no copy is kept."""
    return _parted(values @ jnp.concatenate(kernels, axis=1), kernels)


def _joint_forward(values: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[tuple[jax.Array, ...], Any]:
    return _parted(values @ jnp.concatenate(kernels, axis=1), kernels), (values, kernels)


def _joint_backward(kept: Any, grads: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    values, kernels = kept
    joint = values, jnp.concatenate(kernels, axis=1), jnp.concatenate(grads, axis=-1)
    dvalues, dkernel = lax.platform_dependent(*joint, cpu=_turned, cuda=_pulled_once, default=_pulled)
    return dvalues, _parted(dkernel, kernels)


def _parted(values: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    ends = list(accumulate(kernel.shape[1] for kernel in kernels))
    return tuple(jnp.split(values, ends[:-1], axis=-1))


_joint.defvjp(_joint_forward, _joint_backward)
