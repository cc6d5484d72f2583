"""Language modelling: the next token at each position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bigtrain.config.errors import InputError
from bigtrain.config.values import PositiveInt, Rate
from bigtrain.data.spec import Spec
from bigtrain.tasks import cross_entropy
from bigtrain.tasks.sampling import Draw, Prompts, fitting, generate
from bigtrain.tasks.task import Batch, Elements, call


@dataclass(frozen=True)
class LanguageModeling:
    """Predicts the next token at each position: cross-entropy in nats a token, and accuracy.

    Args:
        label_smoothing: probability spread evenly over the vocabulary in the training target; evaluation has none.
        chunk: steps of a sequence whose scores are in memory at once, by default all. They are computed again in the
            backward pass: of a large vocabulary they would be the largest array of the step.
        spec: the data.
    """

    label_smoothing: Rate = 0.0
    chunk: PositiveInt | None = None
    spec: Spec | None = None
    targets: ClassVar[str] = "tokens"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B, T], one a token."""
        return self._judged(model, batch, self.label_smoothing)

    def judge(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """As `elements`, without smoothing."""
        return self._judged(model, batch, 0.0)

    def _judged(self, model: Any, batch: Batch, smoothing: float) -> Elements:
        choices = self.spec and self.spec.vocabulary
        if self.chunk is None:
            return cross_entropy.elements(model, batch, smoothing, choices)
        return cross_entropy.in_chunks(model, batch, smoothing, self.chunk, choices)

    def predict(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """`next_token` [B, T] and `log_probability` [B, T, V] in nats."""
        logits = call(model, batch).astype(jnp.float32)
        return {"next_token": jnp.argmax(logits, axis=-1), "log_probability": jax.nn.log_softmax(logits)}

    def sample(
        self,
        model: Any,
        spec: Spec,
        key: jax.Array,
        number: int,
        *,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        prompts: Sequence[Any] | np.ndarray | jax.Array | None = None,
        shorten: bool = False,
    ) -> jax.Array:
        """Tokens [N, P + length]: what the model says comes after each prompt; [N, length] if it began with the end.

        A row that came to the vocabulary's end token is filled with it.

        Args:
            model: has `initial(batch, length)`, the state before the first of up to `length` tokens, and
                `step(carry, tokens [B]) -> carry, logits [B, V]`.
            spec: the data, for its vocabulary.
            key: fixes the draw.
            number: how many texts, of each prompt.
            length: new tokens in each.
            temperature: divides the logits; 0 takes the likeliest token.
            top_k: draws from the k likeliest tokens alone; 0 is all of them.
            top_p: draws from the fewest tokens that together have this probability (Holtzman et al. 2020).
            prompts: the tokens of each, [N, P] or of unequal lengths, where P is the longest's. Without any, a text
                begins with a random token of the vocabulary, or after the end token where there is one.
            shorten: where the model's context is too short for `length`, write as many as fit.
        """
        if not hasattr(model, "step"):
            raise InputError(f"{type(model).__name__} can't generate: it has no step(carry, tokens)")
        end = spec.vocabulary.end if spec.vocabulary else None
        first_key, key = jax.random.split(key)
        if prompts is not None:
            given = Prompts.of(prompts, number)
        elif end is not None:
            given = Prompts(jnp.full((number, 1), end, jnp.int32), (1,) * number)
        else:
            first = jax.random.randint(first_key, (number, 1), 0, len(spec.vocabulary or ()))
            given = Prompts(first, (1,) * number)
        length = fitting(model, given.tokens.shape[1], length, shorten=shorten)
        found = generate(model, given, length, Draw(temperature, top_k, top_p), key, end)
        return found[:, 1:] if prompts is None and end is not None else found
