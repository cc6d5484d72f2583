"""Drawing tokens: which may be drawn and how often, prompts of unequal lengths, end tokens, and short contexts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import build

from bigtrain.config.errors import ConfigError, InputError
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.rnn import RNN
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.sampling import Draw, Prompts, fitting, kept

T = 6
TOKENS = Field((T,), "int32", "tokens")
FIELDS = {"inputs": TOKENS, "targets": TOKENS}
PLAIN = Spec("text", FIELDS, {"train": 8}, None, Vocabulary(tuple("abcde")))
ENDING = Spec("text", FIELDS, {"train": 8}, None, Vocabulary(("<end>", *"bcde"), end=0))
TASK = LanguageModeling()
KEY = jax.random.key(0)
RAGGED = ([1, 4, 2], [3], [0, 0, 1, 2, 3, 4, 1], [2, 2])


@pytest.fixture(scope="module")
def model():
    return build(lambda: RNN(PLAIN, width=8, layers=2, embedding=4, rngs=nnx.Rngs(0)), seed=3)


def renormalised(logits, top_k, top_p):
    """The probabilities by the definition, one row, in plain Python."""
    shares = sorted(((float(p), token) for token, p in enumerate(softmax(logits))), key=lambda one: (-one[0], one[1]))
    shares = shares[: top_k or None]
    total, chosen = sum(share for share, _ in shares), {}
    for share, token in shares:
        if sum(chosen.values()) / total < top_p:
            chosen[token] = share
    result = np.zeros(len(logits))
    for token, share in chosen.items():
        result[token] = share / sum(chosen.values())
    return result


def softmax(logits):
    shares = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return shares / shares.sum()


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.5), (0, 0.9), (1, 1.0), (4, 1.0), (4, 0.7), (99, 0.01), (3, 0.99)])
def test_what_is_kept_has_its_probability_and_all_else_none(top_k, top_p):
    rows = np.random.default_rng(top_k).normal(size=(40, 9)) * 2
    expected = np.stack([renormalised(row, top_k, top_p) for row in rows])
    found = np.stack([softmax(row) for row in np.asarray(kept(jnp.asarray(rows), top_k, top_p), np.float64)])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert ((found == 0) == (expected == 0)).all()


def test_of_equally_likely_tokens_exactly_k_are_kept():
    found = np.asarray(kept(jnp.zeros((2, 6)), 4, 1.0))
    np.testing.assert_array_equal(np.isfinite(found), [[True] * 4 + [False] * 2] * 2)


def test_without_limits_the_logits_are_untouched():
    logits = jnp.asarray([[0.5, -jnp.inf, 2.0]])
    for top_k in (0, 3, 4):
        np.testing.assert_array_equal(kept(logits, top_k, 1.0), logits)


@pytest.mark.parametrize(("top_k", "top_p", "temperature"), [(3, 1.0, 1.0), (0, 0.8, 1.0), (4, 0.9, 0.5)])
def test_tokens_are_drawn_as_often_as_they_should(model, top_k, top_p, temperature):
    number = 20_000
    options = {"top_k": top_k, "top_p": top_p, "temperature": temperature}
    found = TASK.sample(model, PLAIN, KEY, number, length=1, prompts=[[1, 4]], **options)
    logits = np.asarray(model(jnp.asarray([[1, 4]]))[0, -1], np.float64) / temperature
    expected = renormalised(logits, top_k, top_p)
    assert 0 < (expected > 0).sum() < 5
    share = np.bincount(np.asarray(found[:, -1]), minlength=5) / number
    assert (np.abs(share - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / number)).all()


def test_temperature_zero_and_the_likeliest_alone_take_the_same_tokens(model):
    greedy = TASK.sample(model, PLAIN, KEY, 1, length=9, temperature=0, prompts=RAGGED)
    likeliest = TASK.sample(model, PLAIN, KEY, 1, length=9, top_k=1, prompts=RAGGED)
    np.testing.assert_array_equal(greedy, likeliest)


def test_prompts_of_unequal_lengths_go_on_as_each_would_alone(model):
    length = 5
    found = np.asarray(TASK.sample(model, PLAIN, KEY, 2, length=length, temperature=0, prompts=RAGGED))
    assert found.shape == (8, 7 + length)
    for row, prompt in enumerate(RAGGED):
        alone = np.asarray(TASK.sample(model, PLAIN, KEY, 1, length=length, temperature=0, prompts=[prompt]))[0]
        np.testing.assert_array_equal(alone[: len(prompt)], prompt)
        for copy in found[2 * row : 2 * row + 2]:
            np.testing.assert_array_equal(copy[: len(prompt) + length], alone)


def test_the_same_seed_draws_the_same_and_another_seed_another(model):
    options = {"length": 12, "top_k": 4, "top_p": 0.95, "prompts": RAGGED}
    first, again, other = (TASK.sample(model, PLAIN, jax.random.key(seed), 2, **options) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


class Counting:
    """Says that what follows token `t` is `t - 1`; its context has `context` tokens."""

    def __init__(self, context=1000, size=5):
        self.context, self.size = context, size

    def initial(self, batch, length):
        if length > self.context:
            raise ConfigError("model.context", f"{length} tokens")
        return {"read": jnp.zeros((), jnp.int32)}

    def step(self, carry, tokens):
        return {"read": carry["read"] + 1}, 50.0 * jax.nn.one_hot((tokens - 1) % self.size, self.size)


def test_a_row_ends_at_the_end_token_and_is_filled_with_it():
    found = TASK.sample(Counting(), ENDING, KEY, 1, length=5, prompts=[[4], [2], [0, 3], [1, 0, 4]])
    expected = [[4, 3, 2, 1, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0, 0, 0], [0, 3, 2, 1, 0, 0, 0, 0], [1, 0, 4, 3, 2, 1, 0, 0]]
    np.testing.assert_array_equal(found, expected)
    assert [ENDING.vocabulary.decode(row) for row in found] == ["edcb", "cb", "", "b"]


def test_without_an_end_token_a_text_goes_on():
    found = TASK.sample(Counting(), PLAIN, KEY, 1, length=5, prompts=[[2]])
    np.testing.assert_array_equal(found, [[2, 1, 0, 4, 3, 2]])


def test_without_a_prompt_a_text_begins_after_the_end_token_which_is_no_part_of_it():
    found = TASK.sample(Counting(), ENDING, KEY, 2, length=6)
    np.testing.assert_array_equal(found, [[4, 3, 2, 1, 0, 0]] * 2)


def test_a_context_that_is_too_short_says_how_much_fits():
    model = Counting(context=12)
    assert TASK.sample(model, PLAIN, KEY, 1, length=12, prompts=[[2]]).shape == (1, 13)
    with pytest.raises(InputError) as caught:
        TASK.sample(model, PLAIN, KEY, 1, length=200, prompts=[[2, 1, 0], [1]])
    assert str(caught.value) == (
        "--length: 200 is too long: the model reads at most 12 tokens, of which the prompt takes 3\n  try --length 10"
    )
    assert TASK.sample(model, PLAIN, KEY, 1, length=10, prompts=[[2, 1, 0], [1]]).shape == (2, 13)
    with pytest.raises(
        InputError, match=r"^--length: 13 is too long: the model reads at most 12 tokens\n  try --length 12$"
    ):
        TASK.sample(model, PLAIN, KEY, 1, length=13)
    with pytest.raises(InputError, match=r"^--prompt: the model reads at most 12 tokens, and the prompt has 13$"):
        TASK.sample(model, PLAIN, KEY, 1, length=1, prompts=[[1] * 13])


def test_a_text_that_is_shown_while_training_is_as_long_as_fits():
    assert [fitting(Counting(context), 1, 160, shorten=True) for context in (1, 12, 159, 160, 1000)] == [
        1, 12, 159, 160, 160,
    ]  # fmt: skip


def test_an_empty_prompt_is_refused():
    with pytest.raises(InputError, match=r"^a prompt needs at least one token$"):
        Prompts.of([[1], []], 1)


def test_a_draw_is_of_the_first_of_equal_logits_at_temperature_zero():
    assert Draw(temperature=0)(KEY, jnp.asarray([[1.0, 3.0, 3.0]])).tolist() == [1]
