"""BLEU and chrF of a whole set of texts, by sacrebleu, whose numbers are the ones that papers give."""

from __future__ import annotations

import math
from collections.abc import Sequence

NEEDS = {"chrf": "sacrebleu", "bleu": "sacrebleu"}
"""Scores that are NaN without a package."""

WORDS = 4  # BLEU counts runs of so many words: it means nothing where no reference has as many


def translation_scores(given: Sequence[str], wanted: Sequence[Sequence[str]]) -> dict[str, float]:
    """`chrf` (Popović 2015) and, where the references have words enough, `bleu` (Papineni et al. 2002), from 0 to 100.

    Each is NaN where sacrebleu isn't installed.

    Args:
        given: a text for each example.
        wanted: the references of each.
    """
    names = ["chrf", "bleu"] if any(len(text.split()) >= WORDS for texts in wanted for text in texts) else ["chrf"]
    try:
        import sacrebleu
    except ModuleNotFoundError:
        return dict.fromkeys(names, math.nan)
    most = max(map(len, wanted))
    streams = [[texts[at] if at < len(texts) else None for texts in wanted] for at in range(most)]
    measures = {"chrf": sacrebleu.CHRF(), "bleu": sacrebleu.BLEU(force=True)}
    return {name: float(measures[name].corpus_score(list(given), streams).score) for name in names}
