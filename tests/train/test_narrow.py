"""Which programs are of narrow products, and that these are computed the same without YNNPACK."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from support import losses_of, lowered, run_fit

from bigtrain.train import lower
from bigtrain.train.lower import NOTHING, YNNPACK
from bigtrain.train.narrow import mostly_narrow

PICTURES = ("steps=20", "log_every=1", "data.test=0.1")


def options(*overrides: str) -> dict[str, bool | str]:
    """What XLA is told of a run's steps."""
    return lowered(*overrides)[0].options["advance"]


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[str, ...]:
    """Noise of the shape of MNIST."""
    random = np.random.default_rng(0)
    arrays = {"train_inputs": random.uniform(size=(400, 28, 28)), "train_targets": random.integers(0, 10, 400)}
    np.savez(tmp_path / "noise.npz", **{k: v.astype("f4" if "inputs" in k else "i4") for k, v in arrays.items()})
    return ("data=npz", f"data.path={tmp_path / 'noise.npz'}", *PICTURES)


@pytest.mark.parametrize(
    ("overrides", "narrow"),
    [
        (("model.widths=[64,64]", "batch_size=32"), True),
        (("model.widths=[64,64]", "batch_size=32", "accumulate=2"), False),  # sixteen rows at a time
        (("model.widths=[128,128]", "batch_size=64"), True),
        (("model.widths=[64,64]", "batch_size=8"), False),
        (("model.widths=[256,256]", "batch_size=32"), False),
        (("model.widths=[512,64]", "batch_size=64"), False),
        (("model=vae", "model.widths=[64]", "batch_size=32"), True),
        (("model=vae", "model.widths=[256]", "batch_size=32"), False),
        (("model=cnn", "batch_size=32"), False),
    ],
)
def test_narrow_products(overrides: tuple[str, ...], narrow: bool, pictures: tuple[str, ...]) -> None:
    assert options(*pictures, *overrides) == ({YNNPACK: NOTHING} if narrow else {})


def test_the_digits_are_too_small() -> None:
    assert options("steps=20") == {}


def test_a_version_of_xla_that_does_not_know_the_option(
    pictures: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lower, "YNNPACK", "xla_cpu_made_up")
    assert options(*pictures, "model.widths=[64,64]", "batch_size=32") == {}


def test_what_the_user_says_counts_more(pictures: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", f"--{YNNPACK}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT")
    assert options(*pictures, "model.widths=[64,64]", "batch_size=32") == {}


def test_a_wide_product_in_a_branch_counts() -> None:
    narrow, wide, left = (jax.ShapeDtypeStruct(shape, "f4") for shape in ((784, 64), (784, 2560), (32, 784)))

    def branching(left, narrow, wide):
        found = left @ narrow
        return found, jax.lax.cond(found[0, 0] > 0, lambda: (left @ wide).sum(), lambda: 0.0)

    assert mostly_narrow(jax.make_jaxpr(lambda left, narrow, wide: left @ narrow)(left, narrow, wide))
    assert not mostly_narrow(jax.make_jaxpr(branching)(left, narrow, wide))


def test_a_run_says_what_the_compiler_was_told(pictures: tuple[str, ...], tmp_path: Path) -> None:
    run_fit(tmp_path / "run", *pictures, "model.widths=[64,64]", "batch_size=32")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["xla_options"] == {YNNPACK: NOTHING}


@pytest.mark.parametrize(
    "model",
    [("model.widths=[64,64]",), pytest.param(("model=vae", "model.widths=[64]"), marks=pytest.mark.long)],
)
def test_the_losses_are_the_same(
    model: tuple[str, ...], pictures: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_fit(tmp_path / "without", *pictures, *model, "batch_size=32")
    monkeypatch.setattr(lower, "mostly_narrow", lambda traced: False)
    run_fit(tmp_path / "with", *pictures, *model, "batch_size=32")
    np.testing.assert_allclose(losses_of(tmp_path / "without"), losses_of(tmp_path / "with"), rtol=1e-5)
