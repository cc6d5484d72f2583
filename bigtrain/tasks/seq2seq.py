"""Sequence to sequence: the target is written token by token from the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bigtrain.config.values import NonNegativeFloat, PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.metrics import Mean
from bigtrain.metrics.edit_distance import error_rate
from bigtrain.metrics.translation import translation_scores
from bigtrain.tasks import cross_entropy, decoding
from bigtrain.tasks.task import Batch, Elements


@dataclass(frozen=True)
class Seq2Seq:
    """A target sequence for each source: cross-entropy in nats a token, accuracy; by decoding, exact match and errors.

    Args:
        label_smoothing: probability spread evenly over the vocabulary in the training target; evaluation has none.
        beam: hypotheses kept while a target is written; 1 takes the likeliest token each time.
        length_penalty: of a beam: 0 compares log probabilities, more favours longer targets (Wu et al. 2016).
    """

    label_smoothing: Rate = 0.0
    beam: PositiveInt = 1
    length_penalty: NonNegativeFloat = 0.6
    objective: ClassVar[str] = "seq2seq"
    targets: ClassVar[str] = "tokens"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "exact_match")

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B, T], one a token of the target, its end token among them; each is told the tokens before it."""
        return cross_entropy.of_logits(self._logits(model, batch), batch, self.label_smoothing)

    def judge(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Without smoothing; and `exact_match`, the share of sources whose decoded target is one of the references."""
        losses, weights, metrics = cross_entropy.of_logits(self._logits(model, batch), batch, 0.0)
        written, _ = self._written(model, batch)
        right = jnp.any(jnp.all(written[:, None] == _accepted(batch), axis=-1), axis=-1)
        own = batch.get("weights", jnp.ones(len(right), jnp.float32))
        return losses, weights, {**metrics, "exact_match": Mean.of(right, own)}

    def predict(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """`prediction` [B, T], tokens with the end token after the last; and its `log_probability` [B] in nats."""
        written, log_probability = self._written(model, batch)
        return {"prediction": written, "log_probability": log_probability}

    def texts(self, found: Mapping[str, np.ndarray], spec: Spec) -> dict[str, np.ndarray]:
        """The predictions with `prediction` [N] as strings."""
        assert spec.target_vocabulary is not None
        decoded = [spec.target_vocabulary.decode(row) for row in found["prediction"]]
        return {"prediction": np.array(decoded, str), **{k: v for k, v in found.items() if k != "prediction"}}

    def references(self, examples: Mapping[str, np.ndarray], spec: Spec) -> list[list[str]]:
        """The texts that are right for each example."""
        vocabulary = spec.target_vocabulary
        assert vocabulary is not None
        return [list(dict.fromkeys(map(vocabulary.decode, rows))) for rows in np.asarray(_accepted(examples))]

    def corpus(
        self, found: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], spec: Spec
    ) -> dict[str, float]:
        """`error_rate` in the tokens of the target (of phonemes, characters, words), `chrf` and `bleu`."""
        assert spec.target_vocabulary is not None
        end = spec.target_vocabulary.end
        given = [_before(row, end) for row in found["prediction"]]
        wanted = [[_before(row, end) for row in rows] for rows in np.asarray(_accepted(examples))]
        texts = self.texts(found, spec)["prediction"].tolist()
        scores = translation_scores(texts, self.references(examples, spec))
        return {"error_rate": error_rate(given, wanted), **scores}

    def _logits(self, model: Any, batch: Batch) -> Float[Array, "B T V"]:
        targets = batch["targets"].astype(jnp.int32)
        previous = jnp.concatenate([jnp.full_like(targets[:, :1], model.start), targets[:, :-1]], axis=1)
        logits: jax.Array = model(batch["inputs"], previous, lengths=batch["lengths"])
        return logits

    def _written(self, model: Any, batch: Batch) -> tuple[Int[Array, "B T"], Float[Array, " B"]]:
        """What the model writes for each source, and its log probability."""
        ends, number = decoding.Ends(model.start, model.end, model.longest), len(batch["inputs"])
        memory = model.encode(batch["inputs"], lengths=batch["lengths"])
        if self.beam == 1:
            return decoding.greedy(model.step, model.initial(memory, ends.length), number, ends)
        memory = jax.tree.map(lambda leaf: jnp.repeat(leaf, self.beam, axis=0), memory)
        carry = model.initial(memory, ends.length)
        return decoding.beam(model.step, carry, number, ends, size=self.beam, penalty=self.length_penalty)


def _accepted(batch: Mapping[str, Any]) -> Any:
    """The targets that are right for each source [B, R, T]."""
    return batch["references"] if "references" in batch else batch["targets"][:, None]


def _before(row: np.ndarray, end: int | None) -> list[int]:
    tokens: list[int] = row.tolist()
    return tokens[: tokens.index(end)] if end in tokens else tokens
