"""What the encoder–decoder models need to know of a data set of pairs of sequences."""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Spec


@dataclass(frozen=True)
class PairSizes:
    """Symbols of each side, the tokens that a target begins and ends with, and how many tokens it has at most."""

    source: int
    target: int
    start: int
    end: int
    longest: int


def check_pairs(spec: Spec, model: str) -> PairSizes:
    """The sizes of the data's pairs; refuses data that has none."""
    written, targets = spec.target_vocabulary, spec.targets
    hint = "data=pairs reads your own, data=arithmetic makes some"
    if spec.inputs.kind != "tokens" or len(spec.inputs.shape) != 1:
        raise ConfigError("model", f"{model} reads a sequence of tokens, and data {spec.name!r} has none", hint=hint)
    if targets is None or targets.kind != "tokens" or written is None or "target_lengths" not in spec.fields:
        problem = f"{model} writes sequences of their own length, and data {spec.name!r} has none as targets"
        raise ConfigError("model", problem, hint=hint)
    if written.start is None or written.end is None:
        raise ConfigError("model", f"{model} needs a start and an end token, and data {spec.name!r} has none")
    return PairSizes(len(spec.vocabulary or ()), len(written), written.start, written.end, targets.shape[0])
