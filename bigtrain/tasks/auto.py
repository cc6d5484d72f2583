"""The task that a model and a data set imply."""

from __future__ import annotations

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec
from bigtrain.tasks.classification import Classification
from bigtrain.tasks.elbo import ELBO
from bigtrain.tasks.fits import check_tokens
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.regression import Regression
from bigtrain.tasks.seq2seq import Seq2Seq
from bigtrain.tasks.task import Task

OBJECTIVES: dict[str | None, type[ELBO | Seq2Seq]] = {"elbo": ELBO, "seq2seq": Seq2Seq}
"""The tasks of models that say what they are trained on."""


def auto(spec: Spec, objective: str | None) -> Task:
    """The task that the model and the data imply.

    Args:
        spec: the data; its targets decide where the model names no objective.
        objective: what the model says it is trained on ('elbo' for a VAE, 'seq2seq' …).
    """
    if objective in OBJECTIVES:
        return OBJECTIVES[objective]()
    if spec.targets is None:
        hint = "use model=vae, or name the labels (data.targets=…)"
        raise ConfigError("task", f"data {spec.name!r} has no targets to predict", hint=hint)
    if spec.targets.kind == "tokens":
        check_tokens(spec)
    if spec.targets.kind == "real":
        return Regression(spec)
    return Classification(spec=spec) if spec.targets.kind == "label" else LanguageModeling(spec=spec)
