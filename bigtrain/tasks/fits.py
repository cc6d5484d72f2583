"""Whether a task, a model and a data set go together; a task says what it needs in `targets` and `objective`."""

from __future__ import annotations

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.task import Task

_MODELS = {"elbo": "model=vae", "seq2seq": "model=seq2seq"}
_WORDS = {"label": "class labels", "real": "real targets", "tokens": "tokens to predict"}


def check_fits(task: Task, spec: Spec, objective: str | None) -> None:
    """Refuses a task whose losses the model or the data can't serve; a task that says nothing is taken at its word."""
    name = type(task).__name__
    needed = getattr(task, "objective", None)
    if needed is not None and needed != objective:
        hint = f"use {_MODELS.get(needed, 'another model')}, or task=auto"
        raise ConfigError("task", f"{name} needs a model trained on the {needed}", hint=hint)
    if needed is None and objective is not None:
        raise ConfigError(
            "task", f"{name} can't train a model whose objective is the {objective}", hint="use task=auto"
        )
    targets = getattr(task, "targets", None)
    if targets is None:
        return
    if isinstance(task, LanguageModeling):
        check_tokens(spec)
    found = spec.targets.kind if spec.targets else None
    if found != targets:
        has = _WORDS.get(found or "", "no targets")
        problem = f"{name} needs {_WORDS[targets]}, and data {spec.name!r} has {has}"
        hint = "task=auto chooses from the model and the data"
        if (targets, found) == ("label", "real"):
            hint = f"if they are classes set data.target_kind=label; {hint}"
        raise ConfigError("task", problem, hint=hint)


def check_tokens(spec: Spec) -> None:
    """Refuses language modelling of inputs that are no tokens: there is nothing to go on from."""
    if spec.inputs.kind != "tokens":
        problem = f"LanguageModeling needs tokens as inputs, and data {spec.name!r} has real values"
        hint = "for integer inputs set data.kind=tokens; for a class at each step data.target_kind=label"
        raise ConfigError("task", problem, hint=hint)
