"""How many numbers a model has to give for a data set, and which inputs it can read."""

from __future__ import annotations

import math

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec


def output_size(spec: Spec, model: str, *, per_step: bool = False) -> int:
    """The width of the last layer: classes, vocabulary, or the numbers of a regression target.

    Args:
        spec: the data.
        model: its name, for messages.
        per_step: whether the layer is applied at each step; without it, one class or token a step is refused.
    """
    targets = spec.targets
    if targets is None:
        hint = "train model=vae on it, or name the labels (data.targets=…)"
        raise ConfigError("model", f"{model} needs targets, and data {spec.name!r} has none", hint=hint)
    if "target_lengths" in spec.fields:
        problem = f"{model} can't write targets of another length than its inputs, as data {spec.name!r} has them"
        raise ConfigError("model", problem, hint="model=seq2seq writes them token by token")
    if targets.kind != "real" and targets.shape and not per_step:
        what = "labels" if targets.kind == "label" else "tokens"
        problem = f"{model} gives one answer an example, and data {spec.name!r} has {what} of shape"
        raise ConfigError("model", f"{problem} {list(targets.shape)}", hint="model=rnn gives one at each step")
    if targets.kind == "label":
        return len(spec.classes or ())
    if targets.kind == "tokens":
        return len(spec.target_vocabulary or spec.vocabulary or ())
    return max(1, math.prod(targets.shape[1:] if per_step else targets.shape))


def check_extras(spec: Spec, model: str, *, takes: tuple[str, ...] = ()) -> None:
    """Refuses data of which the model would have to ignore something: `lengths`, `segments`, `categories` …"""
    for name, entry in spec.fields.items():
        read = entry.kind != "categories" if name in ("inputs", "targets") else name in takes
        if not read and not (entry.kind == "categories" and "categories" in takes):
            hint = "model=mlp reads them" if entry.kind == "categories" else "use model=rnn"
            hint = "use model=seq2seq" if "target_lengths" in spec.fields else hint
            raise ConfigError("model", f"{model} can't read the {name} of data {spec.name!r}", hint=hint)
