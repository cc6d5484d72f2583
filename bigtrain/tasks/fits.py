"""Whether a task, a model and a data set go together; a task says what it needs in `targets` and `objective`."""

from __future__ import annotations

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec
from bigtrain.tasks.task import Task

_WORDS = {"label": "class labels", "real": "real targets", "tokens": "tokens to predict"}


def check_fits(task: Task, spec: Spec, objective: str | None) -> None:
    """Refuses a task whose losses the model or the data can't serve; a task that says nothing is taken at its word."""
    name = type(task).__name__
    needed = getattr(task, "objective", None)
    if needed is not None and needed != objective:
        raise ConfigError("task", f"{name} needs a model trained on the {needed}", hint="use model=vae, or task=auto")
    if needed is None and objective is not None:
        raise ConfigError(
            "task", f"{name} can't train a model whose objective is the {objective}", hint="use task=auto"
        )
    targets = getattr(task, "targets", None)
    if targets is None:
        return
    found = spec.targets.kind if spec.targets else None
    if found != targets:
        has = _WORDS.get(found or "", "no targets")
        problem = f"{name} needs {_WORDS[targets]}, and data {spec.name!r} has {has}"
        raise ConfigError("task", problem, hint="task=auto chooses from the model and the data")
