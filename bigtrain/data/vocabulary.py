"""The tokens of a text: what each number stands for, and the way from text to numbers and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from bigtrain.config.errors import DataError


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a text set: token `i` stands for `symbols[i]`.

    Args:
        symbols: what each token stands for. Special tokens have a name in angle brackets, such as '<end>'.
        raw: the symbols are bytes, as latin-1 characters.
        separator: what stands between two symbols in a text: nothing between characters, a space between phonemes.
        start: the token that a decoder begins with, where there is one.
        end: the token after the last one of a text, where there is one; generation stops at it.
        unknown: stands for what isn't in the vocabulary; without it such text is refused.
        tokenizer: a tokenizer of the `tokenizers` library as JSON; it makes the tokens, and text of them again.
    """

    symbols: tuple[str, ...]
    raw: bool = False
    separator: str = ""
    start: int | None = None
    end: int | None = None
    unknown: int | None = None
    tokenizer: str | None = None

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def special(self) -> frozenset[int]:
        """The tokens that are no part of a text."""
        return frozenset(token for token in (self.start, self.end) if token is not None)

    def encode(self, text: str, where: object) -> np.ndarray:
        """Text as tokens [T], int32, without start and end.

        Raises:
            DataError: naming `where`, for an empty text, or a symbol that the vocabulary has no token for.
        """
        if not text:
            raise DataError(where, "is empty")
        if self.tokenizer is not None:
            return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)
        if self.raw:
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        parts: Iterable[str] = text.split(self.separator) if self.separator else text
        found = [self._index.get(symbol, self.unknown) for symbol in parts]
        if None in found:
            unknown = sorted({symbol for symbol in parts if symbol not in self._index})
            raise DataError(where, f"the model's text had no {', '.join(map(repr, unknown[:8]))}")
        return np.array(found, np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """Tokens as text, up to the end token if there is one; special tokens are left out."""
        kept = []
        for token in map(int, tokens):
            if token == self.end:
                break
            if token not in self.special:
                kept.append(token)
        if self.tokenizer is not None:
            text: str = self._tokenizer.decode(kept, skip_special_tokens=False)
            return text
        joined = self.separator.join(self.symbols[token] for token in kept)
        return joined.encode("latin-1").decode("utf-8", errors="replace") if self.raw else joined

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: token for token, symbol in enumerate(self.symbols)}

    @cached_property
    def _tokenizer(self) -> Any:
        library = tokenizers_library()
        try:
            return library.Tokenizer.from_str(self.tokenizer)
        except BaseException as error:  # the library raises nothing narrower, and its panics are no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            told = " ".join(str(error).split())[:120]
            raise DataError("the tokenizer", f"is none of the tokenizers library: {told}") from error


def tokenizers_library() -> ModuleType:
    """The `tokenizers` package, which is an extra.

    Raises:
        DataError: where it isn't installed.
    """
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        hint = "pip install 'bigtrain[text]'"
        raise DataError("the tokenizer", "needs the package 'tokenizers'", hint=hint) from error
    return tokenizers
