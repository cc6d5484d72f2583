"""Samples of a generative model, as pictures or as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bigtrain.data.placement import prepare
from bigtrain.data.spec import Dataset, Spec
from bigtrain.models.split import Parts, Recipe
from bigtrain.parallel import distributed
from bigtrain.run import pictures
from bigtrain.tasks.task import Generative, Task
from bigtrain.train.corpus import Writer
from bigtrain.train.program import Definition
from bigtrain.train.state import TrainState

SHOWN = 16  # images of a grid; a text is shown alone
WRITTEN, WIDE = 3, 77  # answers of a model that writes, and symbols of each, on the terminal
LINE = 69  # symbols of it on the terminal, one line of 80 columns; all of it is in the file
TEXT = {"number": 1, "length": 160, "temperature": 0.8, "shorten": True}


@dataclass(frozen=True)
class Drawing:
    """What it takes to use a model between training steps: how to put it together, and with which numbers."""

    definition: Definition
    recipe: Recipe
    task: Task
    fields: dict[str, float]  # the model's hyperparameters
    seed: int = 0
    whole: jax.sharding.NamedSharding | None = None  # where results are needed by a process that holds only a part

    def sampler(self, **options: Any) -> Callable[[Parts, jax.Array], Any]:
        """The compiled function (parts, key) -> samples, with the options of the task's `sample`."""
        task = self.task
        assert isinstance(task, Generative)

        def draw(params: Any, rest: Any, key: jax.Array) -> Any:
            model = self.recipe.merge(Parts(params, rest), self.fields, key, training=False)
            return task.sample(model, self.definition.spec, key, **options)

        compiled = jax.jit(draw, out_shardings=self.whole)
        return lambda parts, key: compiled(parts.params, parts.rest, key)

    def rebuilder(self) -> Callable[[Parts, Any], tuple[jax.Array, jax.Array]]:
        """The compiled function (parts, batch) -> (inputs, their reconstructions)."""

        def rebuild(params: Any, rest: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
            batch = prepare(self.definition.spec, batch)
            model = self.recipe.merge(Parts(params, rest), self.fields, jax.random.key(self.seed), training=False)
            return batch["inputs"], self.task.predict(model, batch)["reconstruction"]

        compiled = jax.jit(rebuild, out_shardings=self.whole)
        return lambda parts, batch: compiled(parts.params, parts.rest, batch)

    def key(self, step: int) -> jax.Array:
        """The key of the samples after `step` steps."""
        return jax.random.fold_in(jax.random.key(self.seed), step)


@dataclass
class ShowText:
    """Prints a text, and writes it to `samples/step-N.txt`."""

    drawing: Drawing
    folder: Path
    say: Callable[..., None]
    _draw: Callable[[Parts, jax.Array], Any] = field(init=False)

    def __post_init__(self) -> None:
        self._draw = self.drawing.sampler(**TEXT)

    def __call__(self, step: int, state: TrainState) -> None:
        """Shows a text of the model after `step` steps."""
        tokens = np.asarray(self._draw(state.evaluated(), self.drawing.key(step)))[0]
        vocabulary = self.drawing.definition.spec.vocabulary
        text = vocabulary.decode(tokens) if vocabulary else ""
        write(self.folder / f"step-{step:06d}.txt", text)
        shown = "".join(symbol if symbol.isprintable() else "\ufffd" for symbol in " ".join(text.split()))
        self.say(f"  sample: {shown[:LINE]}", style="dim")


@dataclass
class ShowWritten:
    """Prints what the model writes for a few examples, and writes more of them to `answers/step-N.txt`."""

    writer: Writer
    dataset: Dataset
    folder: Path
    say: Callable[..., None]
    _examples: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        splits = self.dataset.splits
        source = splits.get("validation") or splits.get("test") or splits["train"]
        self._examples = source[np.arange(min(SHOWN, len(source)))]

    def __call__(self, step: int, state: TrainState) -> None:
        """Shows sources, what the model makes of them after `step` steps, and whether it is right."""
        examples, spec, task = self._examples, self.writer.spec, self.writer.task
        found = task.texts(self.writer(state, examples), spec)["prediction"].tolist()
        lines = []
        for row, (text, right) in enumerate(zip(found, task.references(examples, spec), strict=True)):
            source = spec.vocabulary.decode(examples["inputs"][row][: examples["lengths"][row]])
            lines.append(f"{source} → {text} " + ("✓" if text in right else f"✗ ({right[0]})"))
        write(self.folder / f"step-{step:06d}.txt", "\n".join(lines) + "\n")
        for line in lines[:WRITTEN]:
            shown = "".join(symbol if symbol.isprintable() else "\ufffd" for symbol in line)
            self.say(f"  {shown if len(shown) <= WIDE else shown[: WIDE - 1] + '…'}", style="dim")


@dataclass
class ShowImages:
    """Writes `samples/step-N.png`: samples on the left; on the right, examples above their reconstructions."""

    drawing: Drawing
    dataset: Dataset
    folder: Path
    _draw: Callable[[Parts, jax.Array], Any] = field(init=False)
    _rebuild: Callable[[Parts, Any], tuple[jax.Array, jax.Array]] = field(init=False)
    _batch: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self._draw, self._rebuild = self.drawing.sampler(number=SHOWN), self.drawing.rebuilder()
        splits = self.dataset.splits
        source = splits.get("validation") or splits.get("test") or splits["train"]
        self._batch = {"inputs": source[np.arange(min(SHOWN // 2, len(source)))]["inputs"]}

    def __call__(self, step: int, state: TrainState) -> None:
        """Shows what the model after `step` steps makes."""
        parts = state.evaluated()
        samples = np.asarray(self._draw(parts, self.drawing.key(step)))
        originals, rebuilt = map(np.asarray, self._rebuild(parts, self._batch))
        if not distributed.current().leader:
            return
        rows = [half[at : at + 4] for at in range(0, len(originals), 4) for half in (originals, rebuilt)]
        low, high = value_range(self.drawing.definition.spec, originals)
        left, right = (
            pictures.grid((images - low) / (high - low), columns=4) for images in (samples, np.concatenate(rows))
        )
        pictures.save_png(self.folder / f"step-{step:06d}.png", pictures.beside(left, right))


def write(path: Path, text: str) -> None:
    """Writes a text; of several processes, process 0 does."""
    if distributed.current().leader:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def value_range(spec: Spec, values: np.ndarray) -> tuple[float, float]:
    """The least and greatest value of a picture: what the data knows of itself, else those of `values`."""
    low = float(values.min()) if spec.inputs.low is None else spec.inputs.low
    high = float(values.max()) if spec.inputs.high is None else spec.inputs.high
    return low, high if high > low else low + 1.0
