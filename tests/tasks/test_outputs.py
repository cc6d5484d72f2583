"""A model whose outputs don't fit the targets is refused: a label without a score would cost nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from bigtrain.config.errors import ConfigError, InputError
from bigtrain.data.spec import Field, Spec
from bigtrain.data.vocabulary import Vocabulary
from bigtrain.tasks.classification import Classification
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.regression import Regression

KEY = jax.random.key(0)


class Giving(nnx.Module):
    """A model without parameters."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return jnp.zeros((len(inputs), *self.shape))


def spec(kind: Any, shape: tuple[int, ...] = (), **more: Any) -> Spec:
    fields = {"inputs": Field((4,), "float32", "features"), "targets": Field(shape, "int32", kind)}
    return Spec("mine", fields, {"train": 8}, **more)


CLASSES = spec("label", classes=("a", "b", "c"))
TOKENS = spec("tokens", (4,), vocabulary=Vocabulary(("x", "y")))
INPUTS, LABELS = jnp.zeros((2, 4)), jnp.array([0, 2])


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_score_for_each_class(number: int) -> None:
    task, batch = Classification(spec=CLASSES), {"inputs": INPUTS, "targets": LABELS}
    assert task.elements(Giving(3), batch, KEY)[0].shape == (2,)
    for way in (task.elements, task.judge):
        with pytest.raises(ConfigError, match=rf"Giving gives outputs of shape \[{number}\] .*, and \[3\] are needed"):
            way(Giving(number), batch, KEY)


def test_a_score_for_each_token_of_each_step() -> None:
    task, batch = LanguageModeling(spec=TOKENS), {"inputs": INPUTS, "targets": jnp.zeros((2, 4), jnp.int32)}
    assert task.elements(Giving(4, 2), batch, KEY)[0].shape == (2, 4)
    for wrong in (Giving(4, 3), Giving(2), Giving(1, 2)):
        with pytest.raises(ConfigError, match="a score for each class"):
            task.elements(wrong, batch, KEY)


class Pieces(Giving):
    """A model whose scores can be had step by step."""

    def hidden(self, inputs: jax.Array) -> jax.Array:
        return jnp.zeros((*inputs.shape, 3))

    def scores(self, hidden: jax.Array) -> jax.Array:
        return jnp.zeros((*hidden.shape[:-1], self.shape[-1]))


def test_a_score_for_each_token_in_chunks() -> None:
    task, batch = LanguageModeling(chunk=2, spec=TOKENS), {"inputs": INPUTS, "targets": jnp.zeros((2, 4), jnp.int32)}
    assert task.elements(Pieces(4, 2), batch, KEY)[0].shape == (2, 4)
    with pytest.raises(ConfigError, match="a score for each class"):
        task.elements(Pieces(4, 1), batch, KEY)


def test_a_number_for_each_of_the_target() -> None:
    task, batch = Regression(spec("real", (3,))), {"inputs": INPUTS, "targets": jnp.zeros((2, 3))}
    assert task.elements(Giving(3), batch, KEY)[0].shape == (2,)
    with pytest.raises(
        ConfigError, match=r"Giving gives outputs of shape \[2\] .*, and \[3\] are needed: one for each"
    ):
        task.elements(Giving(2), batch, KEY)


def test_a_text_longer_than_the_positions_that_were_learned() -> None:
    from tiny import build

    from bigtrain.models.transformer import Transformer

    data = Spec("text", {"inputs": Field((4,), "int32", "tokens"), "targets": Field((4,), "int32", "tokens")},
                {"train": 8}, vocabulary=Vocabulary(("x", "y")))  # fmt: skip
    model = build(lambda: Transformer(width=8, heads=2, layers=1, positions="learned", spec=data, rngs=rngs()))
    assert model(jnp.zeros((1, 4), jnp.int32)).shape == (1, 4, 2)
    with pytest.raises(InputError, match="5 steps are more than the 4 whose positions were learned"):
        model(jnp.zeros((1, 5), jnp.int32))


def rngs() -> Any:

    return nnx.Rngs(0)
