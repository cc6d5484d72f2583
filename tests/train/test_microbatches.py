"""In how many microbatches a CPU computes a step: that it changes no loss, and where it is left at one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import fitted, losses_of, lowered, prepared

from bigtrain.cli.report import summary
from bigtrain.parallel import mesh
from bigtrain.parallel.rules import Rules
from bigtrain.train import microbatches
from bigtrain.train.lower import Lowered
from bigtrain.train.microbatches import held

GPT = ("model=transformer/nano", "data=text", "model.width=32", "model.layers=2", "model.heads=2", "batch_size=16")
MLP = ("model=mlp", "data=digits", "model.widths=[32,32]", "batch_size=16")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models are cut as large ones are."""
    monkeypatch.setattr(microbatches, "LEAST", 1 << 10)
    monkeypatch.setattr(microbatches, "REUSED", 1e-3)


def pieces(*overrides: str) -> int:
    return lowered(*overrides)[0].definition.accumulate


def asked(made: Lowered, batch_size: int = 16, platform: str = "cpu", **changes: Any) -> int:
    """What is chosen for a program that was lowered with the batch in one piece, and for the same but for `changes`."""
    definition = dataclasses.replace(made.definition, **changes)
    return microbatches.chosen(definition, made.traced, made.rules, batch_size, platform)


def test_what_is_held_is_counted_by_hand() -> None:
    def function(x: jax.Array) -> jax.Array:  # x is an argument: not counted
        first = jnp.sin(x)  # 400 bytes
        second = jnp.cos(first)  # 800 with the first
        third = second * second  # the first and the second until here: both of the first two, and the third
        return first.sum() + third.sum()

    traced = jax.make_jaxpr(function)(jnp.zeros(100, jnp.float32))
    assert held(traced.jaxpr) == 1200

    def chain(x: jax.Array) -> jax.Array:
        return jnp.sin(jnp.cos(jnp.sin(jnp.cos(x))))  # of each only the one before

    assert held(jax.make_jaxpr(chain)(jnp.zeros(100, jnp.float32)).jaxpr) == 800


def test_what_a_gradient_holds_grows_with_depth_and_batch() -> None:
    def loss(weight: jax.Array, x: jax.Array, depth: int) -> jax.Array:
        for _ in range(depth):
            x = jnp.tanh(x @ weight)
        return x.sum()

    def of(rows: int, depth: int) -> int:
        given = jnp.zeros((8, 8), jnp.float32), jnp.zeros((rows, 8), jnp.float32)
        return held(jax.make_jaxpr(lambda w, x: jax.grad(loss)(w, x, depth))(*given).jaxpr)

    layer = 64 * 8 * 4
    assert of(64, 8) - of(64, 4) >= 4 * layer
    assert of(128, 4) == pytest.approx(2 * of(64, 4), rel=0.1)


def test_the_losses_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    ready, _ = fitted(tmp_path / "auto", *GPT, "steps=20")
    whole, _ = fitted(tmp_path / "whole", *GPT, "steps=20", "accumulate=1")
    assert ready.program.definition.accumulate > 1 == whole.program.definition.accumulate
    np.testing.assert_allclose(losses_of(tmp_path / "auto"), losses_of(tmp_path / "whole"), rtol=1e-5)


def test_a_number_that_is_given_is_kept() -> None:
    assert [pieces(*MLP, f"accumulate={number}") for number in (1, 2, 16)] == [1, 2, 16]


def test_more_is_held_by_larger_batches_and_cut_into_more_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microbatches, "LEAST", 250_000)
    found = [pieces(*MLP, f"batch_size={size}") for size in (32, 512, 1024)]
    assert found[0] == 1
    assert 1 < found[1] == found[2] / 2


def test_gradients_of_many_parameters_are_not_added_up_for_a_few_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pieces(*MLP) > 1
    monkeypatch.setattr(microbatches, "REUSED", 1000)  # 16 rows: each parameter takes part in about 100 operations
    assert pieces(*MLP) == 1


@pytest.mark.parametrize(
    "changed",
    [
        "batch_size=15",  # odd
        "model.dropout=0.1",  # draws
        "model.norm=batch",  # measures the batch
        "augment=[noise]",  # draws, too
    ],
)
def test_what_stays_whole(changed: str) -> None:
    assert pieces(*MLP, changed) == 1


@pytest.mark.parametrize(
    "family", [("model=rnn", "model.width=8"), ("model=transformer/nano", "model.scan_layers=true")]
)
def test_what_scans_stays_whole(family: tuple[str, ...]) -> None:
    assert pieces(*family, "data=text", "batch_size=16") == 1


def test_elsewhere_than_on_a_cpu_and_in_models_of_others_it_stays_whole() -> None:
    made, _ = lowered(*MLP, "accumulate=1")
    assert asked(made) == 16
    assert asked(made, platform="gpu") == asked(made, platform="tpu") == 1
    for name in ("model", "task"):
        node = getattr(made.definition, name)
        theirs = dataclasses.replace(node, callee=dataclasses.replace(node.callee, target="mine.Model"))
        assert asked(made, **{name: theirs}) == 1


def test_each_device_has_its_share_of_the_batch() -> None:
    made, _ = lowered(*MLP, "accumulate=1")
    many = Rules.of(mesh.make(dataclasses.replace(prepared(*MLP)[1].run.mesh, data=8)), prepared(*MLP)[1].run.mesh)
    assert microbatches.chosen(made.definition, made.traced, many, 16, "cpu") == 2


def test_the_summary_says_it(tmp_path: Path) -> None:
    ready, checked, _ = prepared(*MLP)
    assert dict(summary(ready, checked, tmp_path))["batch"].startswith("in 16 microbatches of 1 examples (auto: ")
    ready, checked, _ = prepared(*MLP, "accumulate=2")
    assert dict(summary(ready, checked, tmp_path))["batch"] == "in 2 microbatches of 8 examples"
    ready, checked, _ = prepared(*MLP, "accumulate=1")
    assert "batch" not in dict(summary(ready, checked, tmp_path))
