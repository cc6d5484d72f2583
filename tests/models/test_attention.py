"""Attention, positions and the block: both formulations, who sees whom, and the cache."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import apart, build

from bigtrain.config.errors import ConfigError
from bigtrain.models import attention as module
from bigtrain.models.attention import allowed, attend
from bigtrain.models.positions import rotated, rotation, sinusoidal, within_segments
from bigtrain.models.split import Parts
from bigtrain.models.stack import BlockStack
from bigtrain.models.transformer_block import BlockSettings

B, T, S, N, H = 2, 5, 7, 4, 6


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def by_loops(query, key, value, seen):
    """Attention of float64 arrays, one query at a time; `seen` [B, T, S] says what each may look at."""
    query, key, value = (np.asarray(part, np.float64) for part in (query, key, value))
    found = np.zeros_like(query)
    share = query.shape[2] // key.shape[2]
    for b, t, n in np.ndindex(*query.shape[:3]):
        scores = key[b, :, n // share] @ query[b, t, n] / np.sqrt(query.shape[-1])
        weights = np.where(seen[b, t], np.exp(scores - scores[seen[b, t]].max()), 0.0)
        found[b, t, n] = weights @ value[b, :, n // share] / weights.sum()
    return found


@pytest.mark.parametrize("formulation", ["plain", "fused"])
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_both_formulations_equal_loops(formulation, groups, masked, causal):
    steps = T if causal else S
    query, key, value = drawn(B, T, N, H), drawn(B, steps, groups, H, seed=1), drawn(B, steps, groups, H, seed=2)
    seen = np.random.default_rng(3).random((B, T, steps)) < 0.6 if masked else np.ones((B, T, steps), bool)
    seen[:, np.arange(T), np.arange(T)] = True  # each sees something
    mask = jnp.asarray(seen) if masked else None
    found = attend(query, key, value, mask=mask, causal=causal, formulation=formulation)
    expected = by_loops(query, key, value, seen & np.tri(T, steps, dtype=bool) if causal else seen)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [128, 256])  # two blocks, and four
@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("rows", [None, 1, "all"])
def test_causal_attention_in_blocks_equals_the_fused_one_and_so_do_its_gradients(steps, groups, rows):
    given = [drawn(B, steps, N, H), drawn(B, steps, groups, H, seed=1), drawn(B, steps, groups, H, seed=2)]
    mask = None
    if rows is not None:
        number = steps if rows == "all" else 1
        mask = jnp.asarray(np.random.default_rng(3).random((B, number, steps)) < 0.7).at[:, :, 0].set(True)
    look = drawn(B, steps, N, H, seed=4)

    @functools.partial(jax.jit, static_argnums=0)
    def both(formulation, given):
        def loss(given):
            found = attend(*given, mask=mask, causal=True, formulation=formulation)
            return jnp.sum(found * look), found

        return jax.grad(loss, has_aux=True)(given)

    found, expected = both("plain", given), both("fused", given)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_causal_attention_to_fewer_keys_than_queries_equals_the_fused_one():
    query, key = drawn(1, 256, 2, 4), drawn(1, 200, 2, 4, seed=1)
    found, expected = (attend(query, key, key, causal=True, formulation=way) for way in ("plain", "fused"))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("formulation", ["plain", "fused"])
def test_the_softmax_of_bf16_is_taken_in_f32(formulation):
    query, key, value = (drawn(1, 300, 1, 8, seed=seed).astype(jnp.bfloat16) for seed in range(3))
    found = attend(query, key * 0, value, formulation=formulation)  # 300 equal weights: in bf16 they don't sum to 1
    assert found.dtype == jnp.bfloat16
    expected = np.asarray(value, np.float64).mean(1)[0, 0]
    np.testing.assert_allclose(np.asarray(found, np.float64)[0, 0, 0], expected, atol=2e-3)
    text = str(jax.make_jaxpr(lambda *parts: attend(*parts, formulation=formulation))(query, key, value))
    assert "f32" in text.split("exp ")[0].splitlines()[-1]


class Device(NamedTuple):
    platform: str
    device_kind: str


@pytest.mark.parametrize(("backend", "expected"), [("cpu", "plain"), ("gpu", "fused"), ("tpu", "fused")])
def test_auto_is_chosen_by_the_backend(backend, expected, monkeypatch):
    called = []
    monkeypatch.setattr(module, "target", lambda: Device(backend, "some chip"))
    monkeypatch.setattr(module, "_plain", lambda *given: called.append("plain"))
    monkeypatch.setattr(jax.nn, "dot_product_attention", lambda *given, **named: called.append("fused"))
    attend(*[drawn(B, T, N, H)] * 3)
    assert called == [expected]


def test_a_row_in_which_all_is_hidden_is_finite_and_so_is_its_gradient():
    nothing = jnp.zeros((B, T, S), bool)
    parts = (drawn(B, T, N, H), drawn(B, S, N, H), drawn(B, S, N, H))
    for formulation in ("plain", "fused"):
        grads = jax.grad(lambda *given, how=formulation: attend(*given, mask=nothing, formulation=how).sum(), (0, 1))
        assert all(np.isfinite(grad).all() for grad in grads(*parts))


def test_allowed_joins_what_exists_and_what_belongs_together():
    valid = jnp.asarray([[True, True, False]])
    segments = jnp.asarray([[1, 2, 2]])
    assert allowed() is None
    assert allowed(valid).shape == (1, 1, 3)
    np.testing.assert_array_equal(allowed(valid, segments)[0], [[1, 0, 0], [0, 1, 0], [0, 1, 0]])


def test_rotary_scores_depend_on_the_distance_alone():
    query, key = drawn(1, 1, 1, 8), drawn(1, 1, 1, 8, seed=1)

    def score(at, seen):
        turned = [rotated(v, rotation(jnp.asarray([p]), 8, 100.0)) for v, p in ((query, at), (key, seen))]
        return float((turned[0] * turned[1]).sum())

    assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-4)
    assert abs(score(9, 4) - score(9, 5)) > 1e-3
    assert score(3, 3) == pytest.approx(float((query * key).sum()), abs=1e-5)


def test_sinusoids_are_those_of_the_paper_in_another_order():
    found = np.asarray(sinusoidal(jnp.arange(4), 6))
    for position in range(4):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            np.testing.assert_allclose(found[position, [i, 3 + i]], [np.sin(angle), np.cos(angle)], atol=1e-5)
    assert sinusoidal(jnp.arange(4), 5).shape == (4, 5)


def test_positions_begin_anew_in_each_segment():
    found = within_segments(jnp.asarray([[3, 3, 3, 4, 4, 0], [1, 2, 2, 2, 2, 2]]))
    np.testing.assert_array_equal(found, [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4]])


def settings(**changes):
    return BlockSettings(**{"width": 8, "heads": 4, "layers": 3, "hidden": 10, "causal": True, **changes})


def stack(given, **options):
    return build(lambda: BlockStack(given, **options, rngs=nnx.Rngs(0)))


LLAMA = {"norm": "rms", "activation": "swiglu", "bias": False, "kv_heads": 2}


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("changes", [{}, LLAMA, {"norm_position": "post", "activation": "relu", "cross": True}])
def test_step_by_step_with_a_cache_equals_the_whole_at_once(scan, changes):
    model = stack(settings(**changes), scan=scan)
    values, angles = drawn(B, T, 8), rotation(jnp.arange(T), 2, 100.0)
    memory = drawn(B, 6, 8, seed=5) if changes.get("cross") else None
    memory_mask = jnp.arange(6) < jnp.asarray([[6], [4]]) if changes.get("cross") else None
    whole = model(values, rotation=angles, memory=memory, memory_mask=memory_mask)
    caches = model.initial(B, T + 2, memory)
    at = 0
    for width in (1, 3, 1):  # also three at a time
        part = tuple(table[at : at + width] for table in angles)
        found, caches = model.step(
            values[:, at : at + width], caches, jnp.int32(at), rotation=part, memory_mask=memory_mask
        )
        np.testing.assert_allclose(found, whole[:, at : at + width], rtol=1e-5, atol=1e-5)
        at += width


def test_the_memory_is_attended_to_where_it_exists():
    model = stack(settings(cross=True, layers=1))
    values, memory, exists = drawn(B, T, 8), drawn(B, 6, 8, seed=5), jnp.arange(6) < jnp.asarray([[4], [6]])
    found = model(values, memory=memory, memory_mask=exists)
    changed = model(values, memory=memory.at[:, 4:].add(1.0), memory_mask=exists)
    np.testing.assert_array_equal(found[0], changed[0])
    assert np.abs(found[1] - changed[1]).max() > 1e-3


@pytest.mark.parametrize("changes", [{}, LLAMA])
def test_scanned_layers_begin_with_the_values_of_the_separate_ones_and_give_their_result(changes):
    given = settings(**changes)
    scanned, separate = (BlockStack(given, scan=scan, rngs=nnx.Rngs(4)) for scan in (True, False))
    values = drawn(B, T, 8)
    np.testing.assert_allclose(scanned(values), separate(values), rtol=1e-6, atol=1e-6)
    assert scanned.stacked.attention.query.kernel.shape == (3, 8, 8)


@pytest.mark.parametrize("scan", [False, True])
def test_what_is_computed_again_changes_no_gradient_and_is_not_kept(scan):
    def gradient(remat):
        given = settings(dropout=0.3)
        recipe, parts = apart(lambda: BlockStack(given, scan=scan, remat=remat, rngs=nnx.Rngs(0)))

        def loss(params):
            model = recipe.merge(Parts(params, parts.rest), {"dropout": 0.3}, jax.random.key(3), training=True)
            return (model(drawn(B, T, 8)) ** 2).mean()

        gradient = jax.jit(jax.grad(loss))
        return gradient(parts.params), str(gradient.trace(parts.params).jaxpr).count(" exp ")

    expected, once = gradient("none")
    for remat in ("full", "dots") if scan else ("full",):
        found, number = gradient(remat)
        assert number > once  # the softmax is taken again on the way back
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{"scan": True}, {"scan": False}, {"remat": "full"}], ids=str)
def test_a_second_pass_in_training_drops_other_values_and_each_layer_its_own(options):
    recipe, parts = apart(lambda: BlockStack(settings(dropout=0.5, layers=2), **options, rngs=nnx.Rngs(0)))
    model = recipe.merge(parts, {"dropout": 0.5}, jax.random.key(0), training=True)
    values = drawn(B, T, 8)
    assert np.abs(model(values) - model(values)).max() > 1e-3
    model.eval()
    np.testing.assert_array_equal(model(values), model(values))


def test_bf16_stays_bf16_and_is_near_f32():
    recipe, parts = apart(lambda: BlockStack(settings(**LLAMA), scan=True, rngs=nnx.Rngs(0)))
    half = Parts({name: value.astype(jnp.bfloat16) for name, value in parts.params.items()}, parts.rest)
    values = drawn(B, T, 8)
    exact, found = (
        recipe.merge(part, {"dropout": 0.0}, jax.random.key(0), training=False)(values.astype(dtype))
        for part, dtype in ((parts, jnp.float32), (half, jnp.bfloat16))
    )
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found, np.float32), exact, atol=0.15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "model.heads: a width of 8 is not divisible by 3"),
        ({"kv_heads": 3}, "model.kv_heads: 4 heads can't share 3 heads of keys and values evenly"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(changes, message):
    with pytest.raises(ConfigError) as caught:
        settings(**changes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("device", "dtype", "masked", "expected"),
    [
        (Device("gpu", "NVIDIA H100 80GB HBM3"), jnp.bfloat16, False, "cudnn"),
        (Device("gpu", "NVIDIA H100 80GB HBM3"), jnp.float32, False, None),
        (Device("gpu", "NVIDIA H100 80GB HBM3"), jnp.bfloat16, True, None),
        (Device("gpu", "AMD Instinct MI300X"), jnp.bfloat16, False, None),
        (Device("tpu", "TPU v5 lite"), jnp.bfloat16, False, None),
    ],
)
def test_cudnn_is_asked_only_for_what_it_can(monkeypatch, device, dtype, masked, expected):
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(module, "target", lambda: device)
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91_000)
    query, mask = drawn(2, 16, 4, 8).astype(dtype), jnp.ones((2, 16, 16), bool) if masked else None
    text = str(jax.make_jaxpr(lambda *parts: attend(*parts, mask=mask, causal=True))(query, query, query))
    assert ("dot_product_attention_fwd_wrapper" in text) == (expected == "cudnn")


def test_without_cudnn_attention_is_xlas(monkeypatch):
    monkeypatch.setattr(module, "target", lambda: Device("gpu", "NVIDIA H100 80GB HBM3"))
    query = drawn(2, 16, 4, 8).astype(jnp.bfloat16)
    found = attend(query, query, query, causal=True)
    expected = attend(query, query, query, causal=True, formulation="plain")
    np.testing.assert_allclose(np.asarray(found, np.float32), np.asarray(expected, np.float32), atol=2e-2)
