"""Text generation: greedy by hand, prompts kept, and the distribution that is drawn from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import build

from bigtrain.config.errors import InputError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.rnn import RNN
from bigtrain.tasks.language_modeling import LanguageModeling

T = 6
TOKENS = Field((T,), "int32", "tokens")
TEXT = Spec("text", {"inputs": TOKENS, "targets": TOKENS}, {"train": 8}, None, Vocabulary(tuple("abcde")))
TASK = LanguageModeling()
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def model():
    return build(lambda: RNN(TEXT, width=8, layers=2, embedding=4, rngs=nnx.Rngs(0)), seed=3)


def test_temperature_zero_takes_the_likeliest_token_of_the_whole_text_so_far(model):
    prompt = [1, 4, 2]
    found = TASK.sample(model, TEXT, KEY, 2, length=6, temperature=0, prompts=[prompt])
    whole = jax.jit(model)  # over a text of full length: what follows a position has no influence on it
    text = [*prompt, 0, 0, 0, 0, 0, 0]
    for at in range(3, 9):
        text[at] = int(jnp.argmax(whole(jnp.asarray([text]))[0, at - 1]))
    np.testing.assert_array_equal(found, [text, text])


def test_a_prompt_stands_at_the_beginning_of_every_text(model):
    prompt = [1, 4, 2, 0]
    found = TASK.sample(model, TEXT, KEY, 3, length=4, prompts=[prompt])
    assert found.shape == (3, len(prompt) + 4)
    np.testing.assert_array_equal(found[:, : len(prompt)], [prompt] * 3)


def test_without_a_prompt_texts_begin_with_any_token(model):
    found = np.asarray(TASK.sample(model, TEXT, KEY, 400, length=1))
    counts = np.bincount(found[:, 0], minlength=5)
    assert len(counts) == 5
    assert (np.abs(counts - 80) < 4 * np.sqrt(400 * 0.2 * 0.8)).all()


def test_the_same_key_writes_the_same_text_and_another_key_another(model):
    first, again, other = (TASK.sample(model, TEXT, jax.random.key(seed), 2, length=12) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_tokens_are_drawn_with_the_model_s_probabilities_at_that_temperature(model, temperature):
    number = 20_000
    found = TASK.sample(model, TEXT, KEY, number, length=1, temperature=temperature, prompts=[[1, 4]])
    logits = np.asarray(model(jnp.asarray([[1, 4]]))[0, -1], np.float64) / temperature
    expected = np.exp(logits) / np.exp(logits).sum()
    share = np.bincount(np.asarray(found[:, -1]), minlength=5) / number
    assert (np.abs(share - expected) < 4.5 * np.sqrt(expected * (1 - expected) / number)).all()


def test_predictions_are_the_next_token_and_log_probabilities(model):
    tokens = jnp.asarray([[1, 4, 2, 0, 3, 3]])
    found, logits = TASK.predict(model, {"inputs": tokens}), np.asarray(model(tokens), np.float64)
    np.testing.assert_array_equal(found["next_token"], logits.argmax(-1))
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(found["log_probability"], expected, rtol=1e-5, atol=1e-6)


def test_a_model_that_has_no_step_can_not_generate():
    with pytest.raises(InputError, match=r"^object can't generate: it has no step\(carry, tokens\)$"):
        TASK.sample(object(), TEXT, KEY, 1)
