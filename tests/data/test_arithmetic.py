"""Generated questions: every answer is right, and no question is in two splits."""

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.data.arithmetic import arithmetic


def texts(dataset, split):
    spec, source = dataset.spec, dataset.splits[split]
    batch = source[np.arange(len(source))]
    questions = [spec.vocabulary.decode(r[:n]) for r, n in zip(batch["inputs"], batch["lengths"], strict=True)]
    return list(zip(questions, map(spec.target_vocabulary.decode, batch["targets"]), strict=True))


@pytest.mark.parametrize("turned", [False, True])
def test_two_digits_have_every_sum_once_and_both_orders_together(turned):
    dataset = arithmetic(reversed_answers=turned)
    parts = {split: texts(dataset, split) for split in dataset.splits}
    whole = [pair for part in parts.values() for pair in part]
    assert {question for question, _ in whole} == {f"{a}+{b}" for a in range(100) for b in range(100)}
    assert len(whole) == 10_000
    for question, answer in whole:
        assert sum(map(int, question.split("+"))) == int(answer[::-1] if turned else answer)
    sums = [{tuple(sorted(question.split("+"))) for question, _ in part} for part in parts.values()]
    assert len(set.union(*sums)) == sum(map(len, sums)) == 5050
    assert len(parts["test"]) == pytest.approx(1000, abs=30)


@pytest.mark.parametrize(("operation", "digits"), [("addition", 9), ("reverse", 3), ("copy", 9)])
def test_larger_questions_are_distinct_and_right(operation, digits):
    dataset = arithmetic(operation=operation, digits=digits, examples=500)
    whole = [pair for split in dataset.splits for pair in texts(dataset, split)]
    assert len({question for question, _ in whole}) == len(whole) == 500
    for question, answer in whole:
        right = {"addition": lambda q: str(sum(map(int, q.split("+")))), "reverse": lambda q: q[::-1], "copy": str}
        assert answer == right[operation](question)
    assert max(len(question) for question, _ in whole) == (2 * digits + 1 if operation == "addition" else digits)


def test_fewer_questions_than_asked_are_all_there_are():
    dataset = arithmetic(operation="copy", digits=2)
    assert sum(dataset.spec.sizes.values()) == 110  # ten rows of one digit, a hundred of two


def test_only_sums_have_their_answers_reversed():
    with pytest.raises(ConfigError, match=r"data\.reversed_answers: is for sums, not for copy"):
        arithmetic(operation="copy", reversed_answers=True)
