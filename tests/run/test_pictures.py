"""Pictures, read back pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bigtrain.run import pictures


def test_grid_places_each_image_in_reading_order() -> None:
    images = np.linspace(0, 1, 4)[:, None, None] * np.ones((4, 28, 28))
    canvas = pictures.grid(images, columns=2)
    assert canvas.shape == (2 + 2 * 58, 2 + 2 * 58)
    centres = [canvas[30 + 58 * row, 30 + 58 * column] for row in (0, 1) for column in (0, 1)]
    assert centres == [0, 85, 170, 255]


def test_colour_and_vectors() -> None:
    assert pictures.grid(np.zeros((5, 32, 32, 3))).shape[-1] == 3
    assert pictures.grid(np.zeros((5, 40))).ndim == 2


def test_png_holds_the_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8)
    pictures.save_png(tmp_path / "a" / "b.png", pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a" / "b.png")), pixels)


def test_curves_are_drawn_for_what_was_logged(tmp_path: Path) -> None:
    assert not pictures.curves(tmp_path / "none.png", [])
    lines = [{"step": step, "train/loss": 1 / step, "validation/loss": 2 / step} for step in (1, 2, 3)]
    assert pictures.curves(tmp_path / "curves.png", lines)
    assert np.asarray(Image.open(tmp_path / "curves.png")).std() > 5


def test_a_metric_may_have_any_name(tmp_path: Path) -> None:
    lines = [{"step": step, r"train/p$\frac$x": 1 / step} for step in (1, 2, 3)]
    assert pictures.curves(tmp_path / "curves.png", lines)
