"""Operations counted from the traced program against what the formulas of each layer say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.models.convolution import convolve
from bigtrain.models.linear import product
from bigtrain.train.flops import count

F32 = jnp.float32


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, F32)


def test_a_matrix_product() -> None:
    assert count(jnp.matmul, shape(3, 4), shape(4, 5)) == 2 * 3 * 4 * 5


def test_batched_products_count_each() -> None:
    assert count(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), shape(7, 3, 4), shape(7, 4, 5)) == 7 * 2 * 3 * 4 * 5


def test_a_scan_counts_its_body_as_often_as_it_runs() -> None:
    def loop(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda carry, _: (carry @ w, None), x, None, length=32)[0]

    assert count(loop, shape(2, 6), shape(6, 6)) == 32 * 2 * 2 * 6 * 6


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, lambda f: f], ids=["jit", "remat", "bare"])
def test_what_is_called_inside_counts(wrap) -> None:
    assert count(wrap(jnp.matmul), shape(3, 4), shape(4, 5)) == 2 * 3 * 4 * 5


def test_the_longer_branch_counts() -> None:
    def either(go: jax.Array, a: jax.Array) -> jax.Array:
        return jax.lax.cond(go, lambda a: a @ a, lambda a: a, a)

    assert count(either, jax.ShapeDtypeStruct((), jnp.bool_), shape(4, 4)) == 2 * 4**3


def test_a_convolution() -> None:
    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert count(conv, shape(5, 8, 8, 3), shape(3, 3, 3, 16)) == 2 * (5 * 4 * 4 * 16) * (3 * 3 * 3)


def test_the_gradient_of_a_linear_layer_is_twice_its_forward_pass() -> None:
    def loss(w: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(x @ w))

    forward = 2 * 16 * 32 * 8
    both = count(lambda w, x: jax.grad(loss, argnums=(0, 1))(w, x), shape(32, 8), shape(16, 32))
    assert both == pytest.approx(3 * forward, rel=0.05)


def test_the_gradient_of_a_strided_convolution_is_twice_its_forward_pass() -> None:
    def loss(w: jax.Array, x: jax.Array) -> jax.Array:
        y = jax.lax.conv_general_dilated(x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.sum(jnp.square(y))

    x, w = shape(4, 33, 33, 8), shape(3, 3, 8, 16)
    forward = 2 * (4 * 16 * 16 * 16) * (3 * 3 * 8)
    assert count(lambda w, x: jax.grad(loss, argnums=(0, 1))(w, x), w, x) == pytest.approx(3 * forward, rel=0.1)


def test_elementwise_operations_count_one_each_and_moves_none() -> None:
    assert count(lambda x: jnp.exp(x) + x, shape(10, 10)) == 200
    assert count(lambda x: x.T.reshape(4, 25), shape(10, 10)) == 0


def test_what_no_result_depends_on_does_not_count() -> None:
    def loss(layers: list[jax.Array], x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(product(product(x, layers[0]), layers[1])))

    layers = [shape(16, 32), shape(32, 8)]
    found = count(jax.grad(loss), layers, shape(64, 16))
    products = 2 * 64 * (2 * 16 * 32 + 3 * 32 * 8)  # the first layer's inputs have no gradient
    assert found == pytest.approx(products, rel=0.02)


def test_a_formulation_that_does_more_to_be_faster_counts_as_the_plain_one() -> None:
    """LeNet's second convolution, by rows on a CPU: 2.8 times the products."""
    window = 2 * (128 * 10 * 10 * 16) * (5 * 5 * 6)
    found = count(lambda x, w: convolve(x, w, (1, 1), ((0, 0), (0, 0))), shape(128, 14, 14, 6), shape(5, 5, 6, 16))
    assert found == window


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_cudnn_counts_what_is_seen_and_its_gradient_twice_that(causal, monkeypatch) -> None:
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91_000)
    query, key = (jax.ShapeDtypeStruct((2, 16, heads, 8), jnp.bfloat16) for heads in (4, 2))

    def loss(query: jax.Array, key: jax.Array) -> jax.Array:
        return jax.nn.dot_product_attention(query, key, key, is_causal=causal, implementation="cudnn").sum()

    pairs = 16 * 17 / 2 if causal else 16 * 16
    found = count(jax.grad(loss, argnums=(0, 1)), query, key, products=True)
    assert found == 3 * 4 * 2 * 4 * 8 * pairs


def test_the_gradient_of_a_transposed_convolution_is_twice_its_forward_pass() -> None:
    def forward(w: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    w, x = shape(4, 4, 16, 8), shape(8, 16, 16, 16)
    once = 2 * (8 * 16 * 16 * 16) * (4 * 4 * 8)  # each input reaches a window
    assert count(forward, w, x, products=True) == once
    gradient = jax.grad(lambda w, x: jnp.sum(jnp.square(forward(w, x))), argnums=(0, 1))
    assert count(gradient, w, x, products=True) == 3 * once


def test_a_convolution_of_an_image_smaller_than_its_window() -> None:
    def forward(w: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    w, x = shape(3, 3, 4, 6), shape(2, 1, 1, 4)
    gradient = jax.grad(lambda w, x: jnp.sum(jnp.square(forward(w, x))), argnums=(0, 1))
    assert count(forward, w, x, products=True) == 2 * 2 * 4 * 6
    assert count(gradient, w, x, products=True) == 3 * 2 * 2 * 4 * 6


def test_a_while_loop_counts_what_its_used_result_depends_on_through_the_others() -> None:
    def loop(n: jax.Array, a: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, n, lambda _, c: (c[0] + c[1].sum(), c[1] @ w), (jnp.zeros(()), a))[0]

    number = jax.ShapeDtypeStruct((), jnp.int32)
    assert count(loop, number, shape(4, 5), shape(5, 5), products=True) == 2 * 4 * 5 * 5
    unused = count(lambda n, a, w: jax.lax.fori_loop(0, n, lambda _, c: (c[0] + 1, c[1] @ w), (1.0, a))[0], number,
                   shape(4, 5), shape(5, 5), products=True)  # fmt: skip
    assert unused == 0


def test_a_scan_does_not_count_results_that_nobody_uses() -> None:
    def loop(c: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda c, _: (c + 1, c @ w), c, None, length=7)[0]

    assert count(loop, shape(4, 5), shape(5, 5), products=True) == 0
    assert count(loop, shape(4, 5), shape(5, 5)) == 7 * 4 * 5


def test_products_in_groups_count_each_row_once() -> None:
    groups = jax.ShapeDtypeStruct((3,), jnp.int32)
    rows, matrices = shape(8, 5), shape(3, 5, 6)
    assert count(jax.lax.ragged_dot, rows, matrices, groups, products=True) == 2 * 8 * 5 * 6
    gradient = jax.grad(lambda m, r, g: jnp.sum(jnp.square(jax.lax.ragged_dot(r, m, g))), argnums=(0, 1))
    assert count(gradient, matrices, rows, groups, products=True) == 3 * 2 * 8 * 5 * 6


def test_complex_products_take_four_times_as_much() -> None:
    left, right = (jax.ShapeDtypeStruct(sizes, jnp.complex64) for sizes in ((3, 4), (4, 5)))
    assert count(jnp.matmul, left, right) == 8 * 3 * 4 * 5


def test_what_puts_numbers_together_counts_each() -> None:
    indices = jax.ShapeDtypeStruct((50,), jnp.int32)
    assert count(lambda x: jax.lax.reduce(x, 0.0, lambda a, b: a + b + 0.0, (0,)), shape(100)) >= 100
    added = count(lambda x, i, u: x.at[i].add(u, mode="promise_in_bounds"), shape(100), indices, shape(50))
    assert added == 50
    assert count(lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (2, 2), (1, 1), "SAME"), shape(8, 8)) == 256
    assert count(jnp.fft.fft, jax.ShapeDtypeStruct((64,), jnp.complex64)) == 5 * 64 * 6


def test_a_shard_map_over_one_axis_counts_its_devices() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("a", "b"))
    split = jax.sharding.PartitionSpec("a")
    mapped = jax.shard_map(
        lambda x, w: x @ w, mesh=mesh, in_specs=(split, jax.sharding.PartitionSpec()), out_specs=split,
        axis_names={"a"}, check_vma=False,
    )  # fmt: skip
    assert count(jax.jit(mapped), shape(6, 4), shape(4, 5), products=True) == 2 * 6 * 4 * 5
