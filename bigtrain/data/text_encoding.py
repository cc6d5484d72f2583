"""Whole texts as equally long rows of tokens: by words, characters, bytes or a tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.data.vocabulary import Vocabulary

Level = Literal["words", "characters", "bytes", "tokens"]
UNKNOWN = "<unknown>"
BYTES = Vocabulary(tuple(chr(value) for value in range(256)), raw=True)
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")  # a word with its apostrophes, or a sign


@dataclass(frozen=True)
class Encoding:
    """How a text becomes a row of tokens.

    Args:
        level: what a token is.
        vocabulary: the tokens.
        length: of a row; a longer text is cut, a shorter one is filled up with 0.
        lowercase: whether case is ignored.
    """

    level: str
    vocabulary: Vocabulary
    length: int
    lowercase: bool

    def __call__(self, texts: Sequence[str], where: object) -> tuple[np.ndarray, np.ndarray, int]:
        """Tokens [N, length] and lengths int32 [N], at least 1; and how many texts were cut."""
        rows = np.zeros((len(texts), self.length), dtype_of(self.vocabulary))
        lengths, cut = np.zeros(len(texts), np.int32), 0
        for at, text in enumerate(texts):
            tokens = self.encoded(text, where)
            kept = tokens[: self.length]
            rows[at, : len(kept)], lengths[at] = kept, max(1, len(kept))  # a tokenizer may leave nothing
            cut += len(kept) < len(tokens)
        return rows, lengths, cut

    def encoded(self, text: str, where: object) -> np.ndarray:
        """The tokens of one text; at least one more than a row holds, if there are so many."""
        if self.level == "tokens":
            return self.vocabulary.encode(text, where)
        text = text.lower() if self.lowercase else text
        if self.level == "bytes":
            return np.frombuffer(text.strip().encode("utf-8", "surrogateescape"), np.uint8)
        symbols = islice(parts(text, self.level), self.length + 1)
        return np.array([self._index.get(symbol, 0) for symbol in symbols], np.int32)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: token for token, symbol in enumerate(self.vocabulary.symbols)}

    def settings(self) -> dict[str, Any]:
        """What has to be kept beside the vocabulary."""
        return {"level": self.level, "length": self.length, "lowercase": self.lowercase}


def dtype_of(vocabulary: Vocabulary) -> str:
    """The smallest type that holds every token."""
    size = len(vocabulary)
    return "uint8" if size <= 1 << 8 else "uint16" if size <= 1 << 16 else "int32"


def parts(text: str, level: str) -> Iterator[str]:
    """The words or the characters of a text; surrounding white space is dropped."""
    return (found.group() for found in _WORD.finditer(text)) if level == "words" else iter(text.strip())


def learnt(texts: Iterable[str], level: str, lowercase: bool, limit: int) -> tuple[Vocabulary, int]:
    """The commonest words or characters of the training texts, at most `limit` with <unknown>; and how many there are.

    Raises:
        ConfigError: where there is no room for anything but <unknown>.
    """
    if limit < 2:
        raise ConfigError("data.vocabulary", f"{limit} leaves room for {UNKNOWN} alone", allowed="from 2 on")
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(parts(text.lower() if lowercase else text, level))
    order = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    symbols = (UNKNOWN, *order[: limit - 1])
    return Vocabulary(symbols, separator=" " if level == "words" else "", unknown=0), len(order)


def encoding_of(settings: Mapping[str, Any], vocabulary: Vocabulary) -> Encoding:
    """The encoding that `settings` describe, which come from a file: what isn't as written raises a ValueError."""
    level, length, lowercase = settings["level"], settings["length"], settings["lowercase"]
    known = level in get_args(Level) and type(length) is int and isinstance(lowercase, bool)
    if not known or not 0 < length <= 1 << 24:
        raise ValueError("the reader's settings are not understood")
    return Encoding(level, vocabulary, length, lowercase)
