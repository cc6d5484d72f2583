"""Samples of a generative model, as a picture or as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bigtrain.data.placement import prepare
from bigtrain.data.spec import Dataset, Spec
from bigtrain.models.split import Parts
from bigtrain.run import pictures
from bigtrain.tasks.task import Generative, Task
from bigtrain.train.program import Definition, Recipe
from bigtrain.train.state import TrainState

SHOWN = 16  # images of a grid; texts are shown one at a time


def sampler(
    made: Definition, recipe: Recipe, task: Generative, fields: dict[str, float], **options: Any
) -> Callable[..., Any]:
    """The compiled function (parts, key) -> samples."""

    def draw(parts: Parts, key: jax.Array) -> Any:
        model = recipe.merge(parts, fields, key, training=False)
        return task.sample(model, made.spec, key, **options)

    return jax.jit(lambda params, rest, key: draw(Parts(params, rest), key))


def text_of(spec: Spec, tokens: np.ndarray) -> str:
    """Tokens [T] as text."""
    symbols = spec.vocabulary.symbols if spec.vocabulary else ()
    joined = "".join(symbols[int(token)] for token in tokens)
    if spec.vocabulary is not None and spec.vocabulary.raw:
        return joined.encode("latin-1").decode("utf-8", errors="replace")
    return joined


class Show:
    """Draws from the model as it is, and writes `samples/step-N.png` or prints and writes a text."""

    def __init__(
        self, made: Definition, recipe: Recipe, task: Task, values: dict[str, float], dataset: Dataset, folder: Path, say: Callable[..., None]
    ) -> None:  # fmt: skip
        self.made, self.recipe, self.task, self.dataset, self.folder, self.say = (
            made,
            recipe,
            task,
            dataset,
            folder,
            say,
        )
        self.fields = {field: values[f"model.{field}"] for field in recipe.fields}
        self.key = jax.random.key(int(values["seed"]))
        self.texts = dataset.spec.vocabulary is not None
        options = {"number": 1, "length": 160, "temperature": 0.8} if self.texts else {"number": SHOWN}
        assert isinstance(task, Generative)
        self._draw = sampler(made, recipe, task, self.fields, **options)
        self._rebuild = jax.jit(self._reconstructed)

    def __call__(self, step: int, state: TrainState) -> None:
        """Shows samples of the state after `step` steps."""
        parts = state.evaluated()
        drawn = np.asarray(self._draw(parts.params, parts.rest, jax.random.fold_in(self.key, step)))
        name = f"step-{step:06d}"
        if self.texts:
            text = text_of(self.dataset.spec, drawn[0])
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{name}.txt").write_text(text, encoding="utf-8")
            self.say("  sample: " + " ".join(text.split()), style="dim")
            return
        pictures.save_png(self.folder / f"{name}.png", self._picture(parts, drawn))

    def _picture(self, parts: Parts, samples: np.ndarray) -> np.ndarray:
        """Samples on the left; on the right, examples above their reconstructions."""
        source = next(
            self.dataset.splits[name] for name in ("validation", "test", "train") if name in self.dataset.splits
        )
        batch = {
            name: value for name, value in source[np.arange(min(SHOWN // 2, len(source)))].items() if name == "inputs"
        }
        originals, rebuilt = jax.device_get(self._rebuild(parts.params, parts.rest, batch))
        pairs = np.concatenate(
            [half for at in range(0, len(originals), 4) for half in (originals[at : at + 4], rebuilt[at : at + 4])]
        )
        low, high = self._range(np.asarray(originals))
        left = pictures.grid((samples - low) / (high - low), columns=4)
        right = pictures.grid((pairs - low) / (high - low), columns=4)
        height = max(left.shape[0], right.shape[0])
        padded = [
            np.pad(side, [(0, height - side.shape[0]), (0, 0)] + [(0, 0)] * (side.ndim - 2), constant_values=255)
            for side in (left, right)
        ]
        space = np.full((height, 12, *left.shape[2:]), 255, np.uint8)
        return np.concatenate([padded[0], space, padded[1]], axis=1)

    def _range(self, originals: np.ndarray) -> tuple[float, float]:
        low, high = self.made.spec.inputs.low, self.made.spec.inputs.high
        low = float(originals.min()) if low is None else low
        high = float(originals.max()) if high is None else high
        return low, high if high > low else low + 1.0

    def _reconstructed(self, params: Any, rest: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
        batch = prepare(self.made.spec, batch)
        model = self.recipe.merge(Parts(params, rest), self.fields, self.key, training=False)
        return batch["inputs"], self.task.predict(model, batch)["reconstruction"]
