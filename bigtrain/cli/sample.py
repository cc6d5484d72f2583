"""`bigtrain sample`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.config.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bigtrain.inference.load import Trained


@dataclass(frozen=True)
class Wish:
    """What to draw."""

    number: int
    seed: int
    length: int
    temperature: float
    prompt: str


def run(path: Path, wish: Wish, output: Path | None, *, checkpoint: str, as_json: bool, trust: Sequence[str]) -> None:
    """Draws, and writes a picture or prints texts."""
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"--output: there is no folder {output.absolute().parent}")
    from bigtrain.inference.load import load
    from bigtrain.tasks.task import Generative

    trained = load(path, checkpoint=checkpoint, trust=trust)
    if not isinstance(trained.task, Generative):
        name = type(trained.task).__name__
        hint = "bigtrain predict applies it to inputs"
        raise InputError(f"{path} was trained for {name}, which makes no samples\n  {hint}")
    if trained.spec.vocabulary is not None:
        _texts(trained, wish, output, as_json=as_json)
    else:
        _images(trained, wish, output or path / "samples" / f"sample-{wish.number}.png", as_json=as_json)


def _texts(trained: Trained, wish: Wish, output: Path | None, *, as_json: bool) -> None:
    from bigtrain.inference.inputs import encode
    from bigtrain.train.show import text_of

    options: dict[str, Any] = {"length": wish.length, "temperature": wish.temperature}
    if wish.prompt:
        text = wish.prompt
        if trained.spec.vocabulary is not None and trained.spec.vocabulary.raw:
            text = text.encode("utf-8").decode("latin-1")
        options["prompt"] = encode(text, trained.spec, "--prompt")
    if output is not None and output.suffix.lower() not in (".txt", ".npy"):
        raise InputError(f"--output: {output} is a text's samples; it writes .txt or .npy")
    tokens = _drawn(trained, wish, **options)
    texts = [text_of(trained.spec, row) for row in tokens]
    if output is not None and output.suffix.lower() == ".npy":
        _save_array(output, tokens)
    elif output is not None:
        output.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps({"samples": texts, "output": str(output) if output else None}) + "\n")
    elif output is None:
        sys.stdout.write("\n\n".join(texts) + "\n")
    else:
        sys.stdout.write(f"{wish.number} texts -> {output}\n")


def _images(trained: Trained, wish: Wish, output: Path, *, as_json: bool) -> None:
    from bigtrain.run import pictures
    from bigtrain.train.show import value_range

    if output.suffix.lower() not in (".png", ".npy"):
        raise InputError(f"--output: {output} is a picture's samples; it writes .png or .npy")
    if output.suffix.lower() == ".png" and not pictures.drawable(trained.spec.inputs.shape):
        raise InputError(f"--output: examples of shape {list(trained.spec.inputs.shape)} are no pictures; write .npy")
    drawn = _drawn(trained, wish)
    if output.suffix.lower() == ".npy":
        _save_array(output, drawn)
    else:
        low, high = value_range(trained.spec, drawn)
        pictures.save_png(output, pictures.grid((drawn - low) / (high - low)))
    if as_json:
        sys.stdout.write(json.dumps({"output": str(output), "shape": list(drawn.shape)}) + "\n")
    else:
        sys.stdout.write(f"{wish.number} samples -> {output}\n")


def _drawn(trained: Trained, wish: Wish, **options: Any) -> np.ndarray:
    import jax
    import numpy as np

    from bigtrain.train.show import Drawing

    drawing = Drawing(trained.definition, trained.recipe, trained.task, trained.fields)
    draw = drawing.sampler(number=wish.number, **options)
    return np.asarray(draw(trained.state.evaluated(), jax.random.key(wish.seed)))


def _save_array(path: Path, values: np.ndarray) -> None:
    import numpy as np

    np.save(path, values)
