"""How many insertions, deletions and substitutions turn one sequence into another (Levenshtein 1966)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def edit_distance(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> int:
    """The least number of insertions, deletions and substitutions, one a unit, that turn `given` into `wanted`."""
    number: dict[Hashable, int] = {}
    first, second = (
        np.array([number.setdefault(unit, len(number)) for unit in one], np.int64) for one in (given, wanted)
    )
    steps = np.arange(len(second) + 1)
    row = steps  # distances of what was read so far to each beginning of `wanted`
    for count, unit in enumerate(first, 1):
        best = np.minimum(row[:-1] + (second != unit), row[1:] + 1)
        best = np.concatenate([[count], best])
        row = np.minimum.accumulate(best - steps) + steps  # and insertions from the left
    return int(row[-1])


def error_rate(given: Sequence[Sequence[Hashable]], wanted: Sequence[Sequence[Sequence[Hashable]]]) -> float:
    """Edits over units of the references, each sequence against the reference that it is nearest to.

    Of references equally near the longest counts. The rate of errors of phonemes, characters or words, as the units
    are; it can exceed 1.
    """
    edits = units = 0
    for one, references in zip(given, wanted, strict=True):
        distance, length = min((edit_distance(one, reference), -len(reference)) for reference in references)
        edits, units = edits + distance, units - length
    return edits / max(units, 1)
