"""Language modelling: the next token at each position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bigtrain.config.errors import InputError
from bigtrain.config.values import Rate
from bigtrain.data.spec import Spec
from bigtrain.tasks import cross_entropy
from bigtrain.tasks.task import Batch, Elements, call


@dataclass(frozen=True)
class LanguageModeling:
    """Predicts the next token at each position: cross-entropy in nats a token, and accuracy.

    Args:
        label_smoothing: probability spread evenly over the vocabulary in the training target.
    """

    label_smoothing: Rate = 0.0
    targets: ClassVar[str] = "tokens"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def elements(self, model: Any, batch: Batch, rngs: jax.Array) -> Elements:
        """Losses [B, T], one a token."""
        return cross_entropy.elements(model, batch, self.label_smoothing)

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
        prompt: jax.Array | None = None,
    ) -> jax.Array:
        """Tokens [N, P + length]: the prompt [P], and what the model says comes next.

        Args:
            model: has `initial(batch, length)`, the state before the first of up to `length` tokens, and
                `step(carry, tokens [B]) -> carry, logits [B, V]`.
            spec: the data, for its vocabulary.
            key: fixes the draw.
            number: how many texts.
            length: new tokens in each.
            temperature: divides the logits; 0 takes the likeliest token.
            prompt: tokens to begin with; without one, a random token of the vocabulary.
        """
        if not hasattr(model, "step"):
            raise InputError(f"{type(model).__name__} can't generate: it has no step(carry, tokens)")
        first_key, key = jax.random.split(key)
        if prompt is None:
            first = jax.random.randint(first_key, (number, 1), 0, len(spec.vocabulary or ()))
        else:
            first = jnp.broadcast_to(prompt.astype(jnp.int32), (number, len(prompt)))

        def read(carry: Any, tokens: jax.Array) -> tuple[Any, None]:
            return model.step(carry, tokens)[0], None

        def write(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            state, tokens = carry
            state, logits = model.step(state, tokens)
            chosen = _drawn(key, logits.astype(jnp.float32), temperature)
            return (state, chosen), chosen

        state, _ = jax.lax.scan(read, model.initial(number, first.shape[1] + length), first.T[:-1])
        _, new = jax.lax.scan(write, (state, first[:, -1]), jax.random.split(key, length))
        return jnp.concatenate([first, new.T], axis=1)


def _drawn(key: jax.Array, logits: jax.Array, temperature: float) -> jax.Array:
    if temperature == 0:
        return jnp.argmax(logits, axis=-1)
    return jax.random.categorical(key, logits / temperature)
