"""`bigtrain sample`."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.config.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bigtrain.data.spec import Spec
    from bigtrain.inference.load import Trained

LENGTH = 200
TEMPERATURE = 0.8


@dataclass(frozen=True)
class Wish:
    """What to draw; None is what wasn't asked for, and only texts have the last three."""

    number: int
    seed: int
    length: int | None = None
    temperature: float | None = None
    prompt: str | None = None

    @property
    def of_text(self) -> dict[str, Any]:
        """What was asked for that only a text can have, by option."""
        given = {"--length": self.length, "--temperature": self.temperature, "--prompt": self.prompt}
        return {option: value for option, value in given.items() if value is not None}


def run(path: Path, wish: Wish, output: Path | None, *, checkpoint: str, as_json: bool, trust: Sequence[str]) -> None:
    """Draws, and writes a picture or prints texts."""
    from bigtrain.inference.stored import read

    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"--output: there is no folder {output.absolute().parent}")
    stored = read(path, checkpoint=checkpoint, trust=trust)
    text = stored.spec.vocabulary is not None
    if output is not None:
        _check_suffix(output, *(("texts", ".txt") if text else ("images", ".png")))
    options = _options(wish, stored.spec) if text else {}
    from bigtrain.inference.load import restore
    from bigtrain.tasks.task import Generative

    trained = restore(stored)
    if not isinstance(trained.task, Generative):
        name = type(trained.task).__name__
        hint = "bigtrain predict applies it to inputs"
        raise InputError(f"{path} was trained for {name}, which makes no samples\n  {hint}")
    if text:
        _texts(trained, wish, options, output, as_json=as_json)
    else:
        default = path / "samples" / f"sample-{wish.number}-seed{wish.seed}.png"
        _images(trained, wish, output or default, as_json=as_json)


def _check_suffix(output: Path, what: str, suffix: str) -> None:
    if output.suffix.lower() not in (suffix, ".npy"):
        problem = f"not {output.suffix}" if output.suffix else f"and {output.name!r} has no suffix"
        raise InputError(f"--output: {what} are written as {suffix} or .npy, {problem}")
    if output.is_dir():
        raise InputError(f"--output: {output} is a folder")


def _options(wish: Wish, spec: Spec) -> dict[str, Any]:
    """How to draw texts, with the defaults of what wasn't asked for."""
    length = LENGTH if wish.length is None else wish.length
    options: dict[str, Any] = {
        "length": length, "temperature": TEMPERATURE if wish.temperature is None else wish.temperature,
    }  # fmt: skip
    if wish.prompt and spec.vocabulary is not None:
        options["prompt"] = spec.vocabulary.encode(wish.prompt, "--prompt")
    return options


def _texts(trained: Trained, wish: Wish, options: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    vocabulary = trained.spec.vocabulary
    assert vocabulary is not None
    tokens = _drawn(trained, wish, **options)
    texts = [vocabulary.decode(row) for row in tokens]
    if output is not None and output.suffix.lower() == ".npy":
        _save_array(output, tokens)
    elif output is not None:
        output.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps({"samples": texts, "output": str(output) if output else None}) + "\n")
    elif output is None:
        text = "\n\n".join(texts) + "\n"
        sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
    else:
        sys.stdout.write(f"{wish.number} texts -> {output}\n")


def harmless(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(
        "\ufffd" if unicodedata.category(character) == "Cc" and character not in "\n\t" else character
        for character in text
    )


def _images(trained: Trained, wish: Wish, output: Path, *, as_json: bool) -> None:
    from bigtrain.run import pictures
    from bigtrain.train.show import value_range

    for option in wish.of_text:
        raise InputError(f"{option}: this model makes images")
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
