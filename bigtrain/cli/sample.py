"""`bigtrain sample`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.config.errors import InputError, harmless

if TYPE_CHECKING:
    import numpy as np

    from bigtrain.data.spec import Spec
    from bigtrain.inference.load import Trained

    Prompt = tuple[str, np.ndarray]  # as typed, and its tokens

LENGTH = 200
TEMPERATURE = 0.8
NUMBER = 16
MOST = 100_000  # texts or images of one command


@dataclass(frozen=True)
class Wish:
    """What to draw; None is what wasn't asked for, and only texts have what follows the seed."""

    number: int | None = None
    seed: int = 0
    length: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    prompts: Sequence[str] = ()
    prompt_file: Path | None = None

    @property
    def of_text(self) -> dict[str, Any]:
        """What was asked for that only a text can have, by option."""
        given = {
            "--length": self.length, "--temperature": self.temperature, "--top-k": self.top_k, "--top-p": self.top_p,
            "--prompt": self.prompts or None, "--prompt-file": self.prompt_file,
        }  # fmt: skip
        return {option: value for option, value in given.items() if value is not None}


def run(path: Path, wish: Wish, output: Path | None, *, checkpoint: str, as_json: bool, trust: Sequence[str]) -> None:
    """Draws, and writes a picture or prints texts."""
    from bigtrain.inference.stored import read

    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"--output: there is no folder {output.absolute().parent}")
    stored = read(path, checkpoint=checkpoint, trust=trust)
    text = stored.spec.vocabulary is not None
    if output is not None:
        _check_suffix(output, *_written(stored.spec))
    prompts = _prompts(wish, stored.spec) if text else []
    from bigtrain.inference.load import restore
    from bigtrain.tasks.task import Generative

    trained = restore(stored)
    if not isinstance(trained.task, Generative):
        name = type(trained.task).__name__
        hint = "bigtrain predict applies it to inputs"
        raise InputError(f"{path} was trained for {name}, which makes no samples\n  {hint}")
    if text:
        _texts(trained, wish, prompts, output, as_json=as_json)
    else:
        suffix = _written(stored.spec)[1][0]
        default = path / "samples" / f"sample-{wish.number or NUMBER}-seed{wish.seed}{suffix}"
        _images(trained, wish, output or default, as_json=as_json)


def _written(spec: Spec) -> tuple[str, tuple[str, ...]]:
    """What samples of a data set are called, and how they are written; the first is what isn't asked for."""
    if spec.vocabulary is not None:
        return "texts", (".txt", ".npy")
    return ("rows", (".csv", ".npy", ".png")) if len(spec.inputs.shape) == 1 else ("images", (".png", ".npy"))


def _check_suffix(output: Path, what: str, allowed: tuple[str, ...]) -> None:
    if output.suffix.lower() not in allowed:
        problem = f"not {output.suffix}" if output.suffix else f"and {output.name!r} has no suffix"
        raise InputError(f"--output: {what} are written as {' or '.join(allowed)}, {problem}")
    if output.is_dir():
        raise InputError(f"--output: {output} is a folder")


def _prompts(wish: Wish, spec: Spec) -> list[Prompt]:
    """The prompts and their tokens; an error names the option, or the file and the line."""
    given = [("--prompt", prompt) for prompt in wish.prompts if prompt]
    if wish.prompt_file is not None:
        from bigtrain.data.lines import read_lines

        lines = read_lines(wish.prompt_file, hint="save it as UTF-8")
        given += [(f"{wish.prompt_file}, line {row}", line) for row, line in enumerate(lines, 1) if line]
        if not any(lines):
            raise InputError(f"--prompt-file: {wish.prompt_file} holds no prompts")
    vocabulary = spec.vocabulary
    assert vocabulary is not None
    each = wish.number or 1
    if len(given) * each > MOST:
        raise InputError(f"--number: {each:,} of each of {len(given):,} prompts are more than {MOST:,} texts")
    return [(prompt, vocabulary.encode(prompt, where)) for where, prompt in given]


def _texts(trained: Trained, wish: Wish, prompts: list[Prompt], output: Path | None, *, as_json: bool) -> None:
    length = LENGTH if wish.length is None else wish.length
    number = wish.number or (1 if len(prompts) > 1 else NUMBER)
    options: dict[str, Any] = {
        "length": length, "temperature": TEMPERATURE if wish.temperature is None else wish.temperature,
        "top_k": wish.top_k or 0, "top_p": 1.0 if wish.top_p is None else wish.top_p,
    }  # fmt: skip
    if prompts:
        options["prompts"] = [tokens for _, tokens in prompts]
    tokens = _drawn(trained, wish.seed, number, **options)
    texts = _decoded(trained.spec, tokens, [len(given) + length for _, given in prompts for _ in range(number)])
    listed = _listed(texts, len(prompts))
    if output is not None and output.suffix.lower() == ".npy":
        _save_array(output, tokens)
    elif output is not None:
        output.write_text(listed, encoding="utf-8")
    if as_json:
        facts = {"samples": texts, "output": str(output) if output else None}
        of = {"prompts": [prompt for prompt, _ in prompts for _ in range(number)]} if prompts else {}
        sys.stdout.write(json.dumps({**facts, **of}) + "\n")
    elif output is None:
        sys.stdout.write(harmless(listed) if sys.stdout.isatty() else listed)
    else:
        sys.stdout.write(f"{len(texts)} texts -> {output}\n")


def _decoded(spec: Spec, tokens: np.ndarray, lengths: list[int]) -> list[str]:
    """The texts; a prompt that is shorter than the longest has an answer that ends before the row does."""
    vocabulary, texts = spec.vocabulary, []
    assert vocabulary is not None
    for at, row in enumerate(tokens.tolist()):
        whole = row[: lengths[at]] if lengths else row
        while whole and whole[0] == vocabulary.end:  # a prompt may begin with it; elsewhere it ends the text
            whole = whole[1:]
        texts.append(vocabulary.decode(whole))
    return texts


def _listed(texts: Sequence[str], number: int) -> str:
    """Texts below each other; those of several prompts under a line that counts prompts and texts."""
    if number < 2:
        return "\n\n".join(texts) + "\n"
    each = len(texts) // number
    heads = [
        f"[prompt {at // each + 1} of {number}" + (f", text {at % each + 1} of {each}]" if each > 1 else "]")
        for at in range(len(texts))
    ]
    return "\n\n".join(f"{head}\n{text}" for head, text in zip(heads, texts, strict=True)) + "\n"


def _images(trained: Trained, wish: Wish, output: Path, *, as_json: bool) -> None:
    from bigtrain.run import pictures
    from bigtrain.train.show import value_range

    for option in wish.of_text:
        raise InputError(f"{option}: this model makes {_written(trained.spec)[0]}")
    if output.suffix.lower() == ".png" and not pictures.drawable(trained.spec.inputs.shape):
        raise InputError(f"--output: examples of shape {list(trained.spec.inputs.shape)} are no pictures; write .npy")
    drawn = _drawn(trained, wish.seed, wish.number or NUMBER)
    if output.suffix.lower() == ".npy":
        _save_array(output, drawn)
    elif output.suffix.lower() == ".csv":
        _save_rows(output, drawn)
    else:
        low, high = value_range(trained.spec, drawn)
        pictures.save_png(output, pictures.grid((drawn - low) / (high - low)))
    if as_json:
        sys.stdout.write(json.dumps({"output": str(output), "shape": list(drawn.shape)}) + "\n")
    else:
        sys.stdout.write(f"{len(drawn)} samples -> {output}\n")


def _drawn(trained: Trained, seed: int, number: int, **options: Any) -> np.ndarray:
    import jax
    import numpy as np

    from bigtrain.train.show import Drawing

    drawing = Drawing(trained.definition, trained.recipe, trained.task, trained.fields)
    draw = drawing.sampler(number=number, **options)
    return np.asarray(draw(trained.state.evaluated(), jax.random.key(seed)))


def _save_array(path: Path, values: np.ndarray) -> None:
    import numpy as np

    np.save(path, values)


def _save_rows(path: Path, values: np.ndarray) -> None:
    """Examples [N, D], a row each; the numbers read back as the very same numbers."""
    import csv

    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([f"inputs_{column}" for column in range(values.shape[1])])
        writer.writerows([[repr(value) for value in row] for row in values.tolist()])
