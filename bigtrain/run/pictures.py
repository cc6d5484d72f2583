"""Pictures of a run: grids of images, and learning curves."""

from __future__ import annotations

import contextlib
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np


def drawable(shape: tuple[int, ...]) -> bool:
    """Whether one example of this shape is a picture: a row of values, a grey image, or one with 1 or 3 channels."""
    return len(shape) in (1, 2) or (len(shape) == 3 and shape[-1] in (1, 3))


def grid(images: np.ndarray, columns: int | None = None, *, zoom_to: int = 56) -> np.ndarray:
    """Images [N, H, W] or [N, H, W, C] within [0, 1] side by side, as bytes [H', W'(, 3)]; small ones are enlarged."""
    if images.ndim == 2:  # vectors: as rows of one picture
        images = images[:, None, :]
    number, height, width = images.shape[:3]
    zoom = max(1, round(zoom_to / max(height, width)))
    pixels = (np.clip(images, 0, 1) * 255).round().astype(np.uint8)
    pixels = pixels.repeat(zoom, axis=1).repeat(zoom, axis=2)
    columns = columns or math.ceil(math.sqrt(number))
    rows = math.ceil(number / columns)
    gap, cell = 2, (height * zoom + 2, width * zoom + 2)
    canvas = np.full((rows * cell[0] + gap, columns * cell[1] + gap, *pixels.shape[3:]), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * cell[0] + gap, index % columns * cell[1] + gap
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas[..., 0] if canvas.ndim == 3 and canvas.shape[-1] == 1 else canvas


def beside(left: np.ndarray, right: np.ndarray, *, space: int = 12) -> np.ndarray:
    """Two pictures of the same kind next to each other, white between and below them."""
    height = max(left.shape[0], right.shape[0])
    rest = left.shape[2:]
    sides = []
    for side in (left, np.full((height, space, *rest), 255, np.uint8), right):
        below = np.full((height - side.shape[0], side.shape[1], *rest), 255, np.uint8)
        sides.append(np.concatenate([side, below]))
    return np.concatenate(sides, axis=1)


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Writes bytes [H, W] or [H, W, 3] as a PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def load_meanwhile() -> None:
    """Imports what `curves` draws with, a third of a second, in a thread of its own: a step needs no interpreter."""

    def load() -> None:
        with contextlib.suppress(Exception):  # `curves` will meet it again, and whoever calls it says so
            import matplotlib.backends.backend_agg
            import matplotlib.figure  # noqa: F401

    threading.Thread(target=load, name="bigtrain-pictures", daemon=True).start()


def curves(path: Path, lines: list[dict[str, Any]]) -> bool:
    """Draws each metric over the steps, training and validation together; False when there is nothing to draw."""
    names = sorted({name.split("/", 1)[1] for line in lines for name in line if "/" in name})
    names = [name for name in names if name != "learning_rate"]
    if not names:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for split in ("train", "validation"):
            points = [(line["step"], line[f"{split}/{name}"]) for line in lines if f"{split}/{name}" in line]
            if points:
                axis.plot(*zip(*points, strict=True), label=split, marker="." if split == "validation" else None)
        axis.set_title(name, parse_math=False)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)
    return True
