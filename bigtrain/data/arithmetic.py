"""Made-up questions with one right answer: adding numbers, copying and turning around a row of digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import Bounds, PositiveInt, Share
from bigtrain.data import sequence_pairs as both
from bigtrain.data.sampler import permuted
from bigtrain.data.spec import Dataset
from bigtrain.data.splits import SPLIT_SEED, random_split

Digits = Annotated[int, Bounds(low=1, high=9)]  # a pair of numbers of nine digits has an index that 2^62 holds


def arithmetic(
    *,
    operation: Literal["addition", "reverse", "copy"] = "addition",
    digits: Digits = 2,
    reversed_answers: bool = False,
    examples: PositiveInt = 10_000,
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Questions about numbers, generated: '12+34' and its answer '46' (Zaremba & Sutskever 2014), or a row of digits.

    No question is in two splits, and no sum is held out whose numbers are trained on in the other order.

    Args:
        operation: add two numbers, write a row of digits backwards, or copy it.
        digits: the most digits of a number, or of a row.
        reversed_answers: write a sum from its last digit on, the order in which it is worked out.
        examples: how many questions at most; two digits have 10,000 sums.
        validation: the share of the questions held out for validation.
        test: the share held out for testing.

    Returns:
        `inputs` and `targets`, tokens of one character, with `lengths` and `target_lengths`.
    """
    if operation != "addition" and reversed_answers:
        raise ConfigError("data.reversed_answers", f"is for sums, not for {operation}", hint="data.operation=addition")
    questions = _sums(digits, examples) if operation == "addition" else [[row] for row in _rows(digits, examples)]
    sources, targets, owners = [], [], []
    for owner, group in enumerate(questions):
        for question in group:
            answer = _answer(operation, question)
            sources.append(question)
            targets.append([answer[::-1] if reversed_answers else answer])
            owners.append(owner)
    symbols = both.vocabulary("characters", "data", sources, target=False)
    written = both.vocabulary("characters", "data", [text for texts in targets for text in texts], target=True)
    parts = random_split(len(questions), validation, test)
    splits = {split: np.flatnonzero(np.isin(owners, rows)) for split, rows in parts.items()}
    notes = {"questions": f"{len(sources):,}, such as {sources[-1]} → {targets[-1][0]}"}
    given = both.Pairs(sources, targets, splits)
    return both.paired(operation, given, symbols, written, "data", notes, ("characters", "characters"))


def _answer(operation: str, question: str) -> str:
    if operation == "addition":
        return str(sum(map(int, question.split("+"))))
    return question[::-1] if operation == "reverse" else question


def _sums(digits: int, examples: int) -> Sequence[Sequence[str]]:
    """Distinct sums, a pair of numbers in both orders together: pair k is row i of a triangle, place j <= i."""
    numbers = 10**digits
    total = numbers * (numbers + 1) // 2
    groups, count = [], 0
    for index in permuted(np.arange(min(total, examples)), total, SPLIT_SEED, digits).tolist():
        row = (math.isqrt(8 * index + 1) - 1) // 2
        place = index - row * (row + 1) // 2
        orders = [f"{row}+{place}", f"{place}+{row}"][: 1 if row == place else 2]
        orders = orders[: examples - count]
        if not orders:
            break
        groups.append(orders)
        count += len(orders)
    return groups


def _rows(digits: int, examples: int) -> list[str]:
    """Distinct rows of 1 to `digits` digits: index k below 10 is a row of one, the next 100 are rows of two, …"""
    total = sum(10**length for length in range(1, digits + 1))
    found = []
    for index in permuted(np.arange(min(total, examples)), total, SPLIT_SEED, digits).tolist():
        length = 1
        while index >= 10**length:
            index -= 10**length
            length += 1
        found.append(f"{index:0{length}d}")
    return found
