"""Mixup and CutMix equal their formulas, for labels and for real targets."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bigtrain.augment.cutmix import CutMix
from bigtrain.augment.mixup import Mixup
from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec
from bigtrain.tasks.classification import Classification

KEY = jax.random.key(5)
LABEL, REAL = Field((), "int32", "label"), Field((2,), "float32", "real")


def spec_of(*shape: int, targets: Field = LABEL, **fields: Field) -> Spec:
    inputs = Field(shape, "float32", "features")
    return Spec("made", {"inputs": inputs, "targets": targets, **fields}, {"train": 8}, classes=("a", "b", "c"))


def random(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def test_mixup_is_the_weighted_mean_of_two_examples() -> None:
    batch = {"inputs": random(32, 5), "targets": jnp.arange(32) % 3}
    made = Mixup(spec_of(5), alpha=1.0).apply(batch, KEY)
    share = np.asarray(made["mix"])[:, None]
    before = np.asarray(batch["inputs"])
    np.testing.assert_allclose(made["inputs"], share * before + (1 - share) * np.roll(before, 1, 0), rtol=1e-5)
    np.testing.assert_array_equal(made["mixed_targets"], np.roll(batch["targets"], 1))
    np.testing.assert_array_equal(made["targets"], batch["targets"])
    assert 0 <= share.min() < 0.2 < 0.8 < share.max() <= 1, "drawn once an example"


def test_alpha_shapes_the_shares() -> None:
    batch = {"inputs": random(4000, 1), "targets": jnp.zeros(4000, jnp.int32)}
    for alpha in (0.2, 2.0):
        share = np.asarray(Mixup(spec_of(1), alpha=alpha).apply(batch, KEY)["mix"])
        assert share.mean() == pytest.approx(0.5, abs=0.03)
        assert share.var() == pytest.approx(0.25 / (2 * alpha + 1), rel=0.06)  # of Beta(alpha, alpha)


def test_cutmix_pastes_a_box_and_mixes_by_its_area() -> None:
    batch = {"inputs": random(64, 6, 8, 3), "targets": jnp.arange(64) % 3}
    made = CutMix(spec_of(6, 8, 3)).apply(batch, KEY)
    before, after = np.asarray(batch["inputs"]), np.asarray(made["inputs"])
    kept = (after == before).all(-1)
    pasted = (after == np.roll(before, 1, 0)).all(-1)
    assert (kept ^ pasted).all()
    np.testing.assert_allclose(made["mix"], kept.mean((1, 2)), rtol=1e-6)
    for place in pasted:
        rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
        assert place.sum() == len(rows) * len(columns), "one rectangle"
    assert pasted.any((1, 2)).sum() > 40


@pytest.mark.parametrize("augmentation", [Mixup, CutMix])
def test_real_targets_are_mixed_as_the_inputs_are(augmentation: Any) -> None:
    batch = {"inputs": jnp.ones((16, 4, 4)) * jnp.arange(16.0)[:, None, None], "targets": random(16, 2)}
    made = augmentation(spec_of(4, 4, targets=REAL), alpha=1.0).apply(batch, KEY)
    index = np.arange(16.0)
    other = np.roll(index, 1)
    share = (np.asarray(made["inputs"]).mean((1, 2)) - other) / (index - other)  # each image is its own index
    before = np.asarray(batch["targets"])
    expected = share[:, None] * before + (1 - share[:, None]) * np.roll(before, 1, 0)
    np.testing.assert_allclose(made["targets"], expected, atol=1e-5)
    assert "mix" not in made


def test_the_loss_of_mixed_labels_is_the_cross_entropy_with_the_mixed_distribution() -> None:
    batch = Mixup(spec_of(3), alpha=1.0).apply({"inputs": random(8, 3), "targets": jnp.arange(8) % 3}, KEY)
    losses, _, _ = Classification().elements(same(), batch, KEY)
    one_hot = jax.nn.one_hot(batch["targets"], 3), jax.nn.one_hot(batch["mixed_targets"], 3)
    share = batch["mix"][:, None]
    expected = optax.softmax_cross_entropy(batch["inputs"], share * one_hot[0] + (1 - share) * one_hot[1])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_either_target_of_a_mixture_is_right_for_its_share() -> None:
    batch = {
        "inputs": jax.nn.one_hot(jnp.asarray([0, 1, 2]), 3),
        "targets": jnp.asarray([0, 0, 0]),
        "mixed_targets": jnp.asarray([1, 1, 0]),
        "mix": jnp.asarray([0.75, 0.75, 0.5]),
    }
    accuracy = Classification().elements(same(), batch, KEY)[2]["accuracy"]
    assert (float(accuracy.total), float(accuracy.weight)) == (0.75 + 0.25, 3.0)


def same() -> Any:
    """A model whose logits are its inputs."""
    from flax import nnx

    class Same(nnx.Module):
        def __call__(self, inputs: jax.Array) -> jax.Array:
            return inputs

    return Same()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (spec_of(5, targets=Field((5,), "int32", "tokens")), "mixes labels and real targets, .* has tokens"),
        (spec_of(5, 2, lengths=Field((), "int32", "length")), "can't mix examples that have lengths"),
        (Spec("text", {"inputs": Field((4,), "uint8", "tokens")}, {}), "mixes real inputs, and data 'text' has tokens"),
    ],
)  # fmt: skip
def test_what_has_no_mixture_is_refused(spec: Spec, message: str) -> None:
    with pytest.raises(ConfigError, match=f"augment.mixup: {message}"):
        Mixup(spec)


def test_labels_are_mixed_only_once() -> None:
    batch = {"inputs": random(8, 4, 4), "targets": jnp.zeros(8, jnp.int32)}
    with pytest.raises(ConfigError, match=r"augment.cutmix: labels can be mixed only once\n.*mixup or cutmix"):
        CutMix(spec_of(4, 4)).apply(Mixup(spec_of(4, 4)).apply(batch, KEY), KEY)
