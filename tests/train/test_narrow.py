"""Which programs are of narrow products, and that these are computed the same without YNNPACK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import losses_of, prepared, run_fit

from bigtrain.train import lower
from bigtrain.train.lower import NOTHING, YNNPACK

PICTURES = ("steps=20", "log_every=1", "data.test=0.1")


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
    ready, _, _ = prepared(*pictures, *overrides)
    assert ready.program.options == ({YNNPACK: NOTHING} if narrow else {})


def test_the_digits_are_too_small(tmp_path: Path) -> None:
    ready, _, _ = prepared("steps=20")
    assert ready.program.options == {}


def test_a_version_of_xla_that_does_not_know_the_option(pictures: tuple[str, ...], monkeypatch) -> None:
    monkeypatch.setattr(lower, "YNNPACK", "xla_cpu_made_up")
    assert prepared(*pictures, "model.widths=[64,64]", "batch_size=32")[0].program.options == {}


@pytest.mark.parametrize("model", [("model.widths=[64,64]",), ("model=vae", "model.widths=[64]")])
def test_the_losses_are_the_same(
    model: tuple[str, ...], pictures: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_fit(tmp_path / "without", *pictures, *model, "batch_size=32")
    monkeypatch.setattr(lower, "mostly_narrow", lambda traced: False)
    run_fit(tmp_path / "with", *pictures, *model, "batch_size=32")
    np.testing.assert_allclose(losses_of(tmp_path / "without"), losses_of(tmp_path / "with"), rtol=1e-5)
