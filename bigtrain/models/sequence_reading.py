"""How a Transformer reads a data set: its steps, whether they may look ahead, and what answers are asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec
from bigtrain.models.outputs import check_extras, output_size
from bigtrain.models.sequence_embedding import steps_and_features

Pooling = Literal["auto", "mean", "cls"]


@dataclass(frozen=True)
class Reading:
    """What the data's spec makes of a Transformer.

    `steps` are those of the inputs as read (patches, if cut), each of `features` numbers or one of `vocabulary` tokens;
    there are `outputs` numbers at each step where `per_step`, else one answer from the `pooling` of all steps.
    """

    steps: int
    features: int
    vocabulary: int
    outputs: int
    per_step: bool
    causal: bool
    language: bool
    pooling: Literal["mean", "cls"]


def read(spec: Spec, *, patch: int | None, causal: bool | None, pooling: Pooling) -> Reading:
    """The reading of a data set.

    Raises:
        ConfigError: for data that a Transformer of this kind can't read, or choices that don't fit them.
    """
    if "target_lengths" in spec.fields:
        problem = f"Transformer answers for the sequence it reads, and data {spec.name!r} has pairs of sequences"
        raise ConfigError("model", problem, hint="use model=seq2seq")
    check_extras(spec, "Transformer", takes=("lengths", "segments"))
    steps, features = steps_and_features(spec, patch)
    targets = spec.targets
    per_step = targets is not None and patch is None and targets.shape[:1] == (steps,)
    tokens = spec.inputs.kind == "tokens"
    language = per_step and tokens and targets is not None and targets.kind == "tokens" and not spec.target_vocabulary
    if language and causal is False:
        raise ConfigError("model.causal", "a language model must not read what it has to predict")
    ahead = per_step and targets is not None and targets.kind == "real"
    looks_back = (language or ahead) if causal is None else causal
    return Reading(
        steps,
        features,
        len(spec.vocabulary or ()) if tokens else 0,
        output_size(spec, "Transformer", per_step=per_step),
        per_step,
        looks_back,
        language,
        _pooling(spec, pooling, per_step=per_step, cut=patch is not None, causal=looks_back),
    )


def _pooling(spec: Spec, pooling: Pooling, *, per_step: bool, cut: bool, causal: bool) -> Literal["mean", "cls"]:
    """What one answer is read from; refuses it where there is an answer at each step."""
    if per_step:
        if pooling != "auto":
            problem = f"{pooling!r} does not fit data {spec.name!r}, which has a target at each step"
            raise ConfigError("model.pooling", problem, hint="use auto")
        return "mean"
    if "segments" in spec.fields and pooling == "cls":
        problem = f"one class token can't stand for the sequences that data {spec.name!r} packs into a row"
        raise ConfigError("model.pooling", problem, allowed=["mean"])
    if causal and pooling == "cls":
        problem = "a class token stands in front of all steps, and sees none of them where model.causal is true"
        raise ConfigError("model.pooling", problem, allowed=["mean"])
    if pooling == "auto":
        return "cls" if cut and not causal and len(spec.inputs.shape) > 1 else "mean"
    return pooling
