"""Edit distances against the textbook's recursion, and the scores of translations against sacrebleu's own."""

import functools
import math
import sys

import numpy as np
import pytest

from bigtrain.metrics.edit_distance import edit_distance, error_rate
from bigtrain.metrics.translation import translation_scores


def recursive(given, wanted):
    @functools.cache
    def distance(i, j):
        if not i or not j:
            return i + j
        same = given[i - 1] == wanted[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same))

    return distance(len(given), len(wanted))


def test_the_distance_is_that_of_the_recursion():
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        given, wanted = ("".join(random.choice(list("abc"), random.integers(0, 8))) for _ in range(2))
        assert edit_distance(given, wanted) == recursive(given, wanted)
        seen.add(edit_distance(given, wanted))
    assert seen >= set(range(6))
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance(["the", "cat"], ["the", "black", "cat"]) == 1


def test_the_error_rate_is_a_mean_over_units_against_the_nearest_reference():
    assert error_rate(["abcd", "x"], [["abce"], ["y"]]) == 2 / 5
    assert error_rate(["abc"], [["xyz", "abd", "abc"]]) == 0.0
    assert error_rate(["ab"], [["abc", "abcd"]]) == 1 / 3
    assert error_rate(["aaaa"], [["b"]]) == 4.0


def test_translations_are_scored_by_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    given = ["the cat sat on the mat", "a dog barks at night"]
    wanted = [["the cat sat on a mat", "on the mat sat the cat"], ["a dog barked at night"]]
    found = translation_scores(given, wanted)
    streams = [[wanted[0][0], wanted[1][0]], [wanted[0][1], None]]
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(given, streams).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(given, streams).score)
    assert 20 < found["bleu"] < 90
    assert translation_scores(given, [[text] for text in given]) == {
        "chrf": pytest.approx(100), "bleu": pytest.approx(100),
    }  # fmt: skip


def test_texts_of_few_words_have_no_bleu():
    pytest.importorskip("sacrebleu")
    assert translation_scores(["46"], [["46"]]) == {"chrf": pytest.approx(100)}


def test_without_the_package_the_scores_are_not_a_number(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    found = translation_scores(["46"], [["46 47 48 49"]])
    assert set(found) == {"chrf", "bleu"}
    assert all(math.isnan(value) for value in found.values())
