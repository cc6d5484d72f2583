"""Greedy and beam decoding against an exhaustive search over a small made-up language."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.tasks.decoding import Ends, beam, greedy

V, T, B = 4, 4, 6
ENDS = Ends(start=3, end=2, length=T)
TABLES = jnp.asarray(np.random.default_rng(6).normal(size=(B, V, V, V)) * 2, jnp.float32)


def step(carry, tokens):
    """Logits that depend on the sequence and its last two tokens; the position is a scalar, as a cache has it."""
    tables, last, position = carry
    return (tables, tokens, position + 1), tables[jnp.arange(len(tokens)), last, tokens]


def start(size=1):
    tables = jnp.repeat(TABLES, size, axis=0)
    return tables, jnp.full(len(tables), ENDS.start), jnp.int32(0)


def log_probabilities(row):
    """Every finished sequence of at most T tokens, with its log probability."""
    table = np.asarray(jax.nn.log_softmax(TABLES[row]), np.float64)
    found = {}
    for length in range(1, T + 1):
        for tokens in itertools.product(range(V), repeat=length):
            if tokens[-1] == ENDS.end and ENDS.end not in tokens[:-1]:
                path = (ENDS.start, ENDS.start, *tokens)
                found[tokens] = sum(table[a, b, c] for a, b, c in zip(path, path[1:], path[2:], strict=False))
    return found


def told(row):
    """A row of tokens up to its first end."""
    tokens = np.asarray(row).tolist()
    return tuple(tokens[: tokens.index(ENDS.end) + 1]) if ENDS.end in tokens else tuple(tokens)


def searched(size, penalty=0.0, **changed):
    ends = Ends(**{**vars(ENDS), **changed})
    return jax.jit(lambda: beam(step, start(size), B, ends, size=size, penalty=penalty))()


def test_greedy_takes_the_likeliest_token_each_time_and_stops_at_the_end():
    tokens, total = greedy(step, start(), B, ENDS)
    for row in range(B):
        table = np.asarray(jax.nn.log_softmax(TABLES[row]))
        path, expected = [ENDS.start, ENDS.start], 0.0
        for _ in range(T):
            path.append(int(table[path[-2], path[-1]].argmax()))
            expected += table[path[-3], path[-2], path[-1]]
            if path[-1] == ENDS.end:
                break
        assert told(tokens[row]) == tuple(path[2:])
        assert (np.asarray(tokens[row])[len(path) - 2 :] == ENDS.end).all()
        assert float(total[row]) == pytest.approx(expected, rel=1e-5)
    assert len({len(told(row)) for row in tokens}) > 1, "all end at once: the comparison would be weak"


def test_a_beam_of_one_is_greedy():
    one, other = searched(1, penalty=0.6), greedy(step, start(), B, ENDS)
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], rtol=1e-6)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(penalty):
    tokens, total = searched(V**T, penalty)
    for row in range(B):
        every = log_probabilities(row)
        best = max(every, key=lambda one: every[one] / ((5 + len(one)) / 6) ** penalty)
        assert told(tokens[row]) == best
        assert float(total[row]) == pytest.approx(every[best], rel=1e-5)


def test_the_length_penalty_prefers_longer_sequences():
    lengths = [np.mean([len(told(row)) for row in searched(V**T, penalty)[0]]) for penalty in (0.0, 2.0)]
    assert lengths[1] > lengths[0]


def test_a_beam_is_nearly_never_worse_than_greedy_and_sometimes_better():
    """Of the sequences that both finish; on this language never worse."""
    found, plain = searched(3), greedy(step, start(), B, ENDS)
    finished = np.array([ENDS.end in np.asarray(row) for row in plain[0]])
    assert finished.sum() >= 3
    gain = np.asarray(found[1] - plain[1])[finished]
    assert (gain >= -1e-5).all()
    assert gain.max() > 1e-3


def test_a_beam_wider_than_the_choice_keeps_no_empty_hypotheses():
    """At the first step there are V continuations for 2V places; what fills the others must never be the answer."""
    tokens, total = searched(2 * V, length=1)
    for row in range(B):
        assert told(tokens[row]) == (ENDS.end,)
        assert float(total[row]) == pytest.approx(log_probabilities(row)[(ENDS.end,)], rel=1e-5)


def test_decoding_ends_with_the_last_sequence():
    """The loop takes as many steps as the longest sequence, not all that it may."""
    certain = jnp.where(jnp.arange(V) == ENDS.end, 50.0, 0.0)

    def counted(carry, tokens):
        return carry + 1, jnp.broadcast_to(certain, (len(tokens), V))

    for search in (
        lambda carry: greedy(lambda c, t: counted(c, t), carry, B, Ends(3, 2, 1000)),
        lambda carry: beam(lambda c, t: counted(c, t), carry, B, Ends(3, 2, 1000), size=1),
    ):
        text = str(jax.make_jaxpr(search)(jnp.int32(0)))
        assert "while" in text
        tokens, _ = search(jnp.int32(0))
        assert tokens.shape == (B, 1000)
        assert (tokens == ENDS.end).all()
