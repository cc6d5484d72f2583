"""Transformer blocks one after another: each with arrays of its own, or stacked and scanned over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from bigtrain.models.attention import Mask
from bigtrain.models.layers import Hyperparameter
from bigtrain.models.positions import Rotation
from bigtrain.models.split import dims_of
from bigtrain.models.transformer_block import Block, BlockSettings
from bigtrain.parallel.naming import gathered, named, not_keeping_gathered

Remat = Literal["none", "full", "dots"]
Apply = Callable[[Block, jax.Array, Any], tuple[jax.Array, Any]]  # (block, values, its entry) -> values, its result


class BlockStack(nnx.Module):
    """`settings.layers` blocks.

    Scanned, the blocks are one block whose arrays have a leading dimension of layers: the program, and the time to
    compile it, stay the same for any depth. Initial values and results are those of the separate blocks.

    Args:
        settings: of each block.
        scan: stack the blocks and scan over them.
        remat: what the backward pass computes again rather than keeps: nothing, everything inside a block (full), or
            everything but the outputs of its matrix products with weights, and of fused attention (dots).
        rngs: random streams for the initial values and for dropout.
    """

    def __init__(self, settings: BlockSettings, *, scan: bool = False, remat: Remat = "none", rngs: nnx.Rngs) -> None:
        self.remat: Remat = remat
        keys = jax.random.split(rngs.params(), settings.layers)
        if scan:
            shape = nnx.eval_shape(lambda: Block(settings, rngs=nnx.Rngs(jax.random.key(0))))
            graphdef, numbers, _ = nnx.split(shape, Hyperparameter, ...)
            numbers = jax.tree.map(lambda leaf: jnp.full(leaf.shape, settings.dropout, leaf.dtype), numbers)
            arrays = jax.vmap(lambda key: nnx.state(Block(settings, rngs=nnx.Rngs(key)), nnx.Not(Hyperparameter)))(keys)
            self.stacked = nnx.merge(graphdef, numbers, arrays, copy=True)
        else:
            self.layers = nnx.List([Block(settings, rngs=nnx.Rngs(key)) for key in keys])
        if scan or remat != "none":
            for _, parameter in nnx.to_flat_state(nnx.state(self, nnx.Param)):
                parameter.set_metadata(late=True)  # `_applied` gathers it, a block at a time

    @property
    def scanned(self) -> bool:
        """Whether the blocks are one, whose arrays are stacked."""
        return hasattr(self, "stacked")

    def __call__(
        self,
        values: Float[Array, "B T D"],
        *,
        mask: Mask | None = None,
        rotation: Rotation | None = None,
        memory: Float[Array, "B S D"] | None = None,
        memory_mask: Bool[Array, "B S"] | None = None,
    ) -> Float[Array, "B T D"]:
        """A whole sequence through every block; the arguments are those of a block."""
        given = {"mask": mask, "rotation": rotation, "memory": memory, "memory_mask": memory_mask}

        def applied(block: Block, values: jax.Array, _: None) -> tuple[jax.Array, None]:
            return block(named(values, "batch", "time", None), **given), None

        return self._through(applied, values, None)[0]

    def initial(self, batch: int, length: int, memory: Float[Array, "B S D"] | None = None) -> Any:
        """The state before the first of up to `length` tokens: a cache for each block.

        Those of stacked blocks are stacked along the second dimension: every array begins with the batch.
        """
        first = self.stacked if self.scanned else self.layers[0]
        dtype = first.attention.key.kernel[...].dtype

        def made(block: Block, values: jax.Array, _: None) -> tuple[jax.Array, Any]:
            return values, block.initial(batch, length, dtype, memory)

        return self._batch_first(self._through(made, jnp.zeros(()), None)[1])

    def step(
        self,
        values: Float[Array, "B T D"],
        caches: Any,
        position: Int[Array, ""],
        *,
        rotation: Rotation | None = None,
        memory_mask: Bool[Array, "B S"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The next tokens through every block, the first of them at `position`, and the new caches."""

        def stepped(block: Block, values: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
            return block.step(values, cache, position, rotation=rotation, memory_mask=memory_mask)

        values, caches = self._through(stepped, values, self._batch_first(caches))
        return values, self._batch_first(caches)

    def _batch_first(self, caches: Any) -> Any:
        """Caches with their first two dimensions, layers and batch, exchanged where the blocks are stacked."""
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), caches) if self.scanned else caches

    def _through(self, apply: Apply, values: jax.Array, entries: Any) -> tuple[jax.Array, Any]:
        """`apply` for each block in turn, with its entry; the results come stacked, or as a list, as `entries` are."""
        if not self.scanned:
            return self._one_by_one(apply, values, entries)
        graphdef, numbers, arrays = nnx.split(self.stacked, Hyperparameter, ...)
        run = self._kept(partial(_applied, apply, graphdef))

        def body(values: jax.Array, xs: tuple[Any, Any]) -> tuple[jax.Array, Any]:
            values, result, counts = run((numbers,), xs[0], values, xs[1])
            return values, (result, counts)

        values, (results, counts) = jax.lax.scan(body, values, (arrays, entries))
        _advance(self.stacked, counts)
        return values, results

    def _one_by_one(self, apply: Apply, values: jax.Array, entries: Any) -> tuple[jax.Array, Any]:
        results = []
        for index, block in enumerate(self.layers):
            entry = None if entries is None else entries[index]
            if self.remat == "none":
                values, result = apply(block, values, entry)
            else:
                graphdef, state = nnx.split(block)
                run = self._kept(partial(_applied, apply, graphdef))
                values, result, counts = run((), state, values, entry)
                _advance(block, counts)
            results.append(result)
        return values, results

    def _kept(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """`run`, whose backward pass keeps what `remat` says."""
        if self.remat == "none":
            return not_keeping_gathered(run, in_loop=self.scanned)
        policy = _products if self.remat == "dots" else None
        return jax.checkpoint(run, policy=policy, prevent_cse=not self.scanned)


def _products(primitive: Any, *given: Any, **params: Any) -> bool:
    """What `remat=dots` keeps: the products with weights, and cuDNN's attention, as large as one."""
    if primitive.name.startswith("dot_product_attention"):
        return True
    return bool(jax.checkpoint_policies.dots_with_no_batch_dims_saveable(primitive, *given, **params))


def _applied(
    apply: Apply, graphdef: Any, numbers: tuple[Any, ...], arrays: Any, values: jax.Array, entry: Any
) -> tuple[jax.Array, Any, Any]:
    """One block as a pure function of its arrays; also how far its random streams have come."""
    block: Block = nnx.merge(graphdef, *numbers, _gathered(arrays), copy=True)
    values, result = apply(block, values, entry)
    return values, result, nnx.state(block, nnx.RngCount)


def _gathered(arrays: Any) -> Any:
    """The arrays of a block, its parameters put together from the devices that they are split over."""

    def whole(variable: Any) -> Any:
        if not isinstance(variable, nnx.Param):
            return variable
        return variable.replace(gathered("a block's parameter", variable.get_value(), dims_of(variable)))

    return jax.tree.map(whole, arrays, is_leaf=lambda entry: isinstance(entry, nnx.Variable))


def _advance(block: Block, counts: Any) -> None:
    """Moves a block's random streams on, so that a second pass in the same step draws other numbers."""
    if block.dropout.active and not block.dropout.deterministic:  # else nothing was drawn
        nnx.update(block, counts)
