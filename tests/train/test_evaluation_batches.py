"""How many examples are evaluated at once, where nobody says it."""

from __future__ import annotations

from typing import Any

import pytest

from bigtrain.data.spec import Field, Spec
from bigtrain.data.vocabulary import Vocabulary
from bigtrain.train.prepare import evaluated_at_once

DIGITS = tuple("0123456789")
LETTERS = Vocabulary(tuple("abcdefghijklmnopq"))


def described(inputs: Field, targets: Field, **more: Any) -> Spec:
    return Spec("some", {"inputs": inputs, "targets": targets}, {"train": 100}, **more)


@pytest.mark.parametrize(
    ("length", "rows"),
    [(16, 128), (50, 40), (256, 8), (2048, 1)],
    ids=str,
)
def test_longer_texts_are_fewer_at_once_also_with_few_letters(length: int, rows: int) -> None:
    tokens = Field((length,), "int32", "tokens")
    assert evaluated_at_once(described(tokens, tokens, vocabulary=LETTERS)) == rows


def test_small_pictures_are_many_at_once() -> None:
    label = Field((), "int32", "label")
    assert evaluated_at_once(described(Field((28, 28), "uint8", "features"), label, classes=DIGITS)) == 256
    assert evaluated_at_once(described(Field((224, 224, 3), "uint8", "features"), label, classes=DIGITS)) == 3
