"""Tokenizers of the `tokenizers` library: trained, read, and as a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from bigtrain.config import untrusted
from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.vocabulary import Vocabulary, tokenizers_library

Method = Literal["bytes-bpe", "bpe", "unigram", "wordpiece"]
END, UNKNOWN = "<|endoftext|>", "<unknown>"
ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<end>", "[EOS]")  # what known tokenizers call it
TOKENIZER = "tokenizer.json"
MOST_UNUSED = 1 << 20
"""A number up to which a token may be, however few there are: what lies between gets a name, which takes memory."""

BYTE_SYMBOLS = 257  # every byte, and the end token
SPACE = "\u2581"  # stands for a space, as in SentencePiece
INSIDE = "\u2594"  # before a WordPiece token that begins no word; BERT's '##' could not be told from a text's own
LONGEST_WORD = 256  # characters: WordPiece takes time with the cube of it, and gives <unknown> for a longer word


def new_tokenizer(texts: Iterable[str], vocabulary: int, method: str) -> Any:
    """A tokenizer of at most `vocabulary` tokens, trained on a stream of texts.

    `bytes-bpe` merges bytes (Radford et al. 2019), so that every text can be written and comes back as it was; the
    others begin from the characters of the texts, and give <unknown> for all others: `bpe` (Sennrich et al. 2016),
    `unigram` (Kudo 2018), `wordpiece` (Schuster & Nakajima 2012), to which a character at the
    beginning of a word is another than inside it.

    Raises:
        ConfigError: where the vocabulary is smaller than the alphabet; it names `--vocabulary`.
    """
    library = tokenizers_library()
    tokenizer, trainer = (
        _of_bytes(library, vocabulary) if method == "bytes-bpe" else _of_characters(library, vocabulary, method)
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() > vocabulary:
        allowed = f"from {tokenizer.get_vocab_size()} on, or --method bytes-bpe"
        raise ConfigError("--vocabulary", f"{vocabulary} is too small for the characters of the text", allowed=allowed)
    return tokenizer


def _of_bytes(library: ModuleType, vocabulary: int) -> tuple[Any, Any]:
    level = library.pre_tokenizers.ByteLevel
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = level(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = level.alphabet()
    return tokenizer, library.trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )


def _of_characters(library: ModuleType, vocabulary: int, method: str) -> tuple[Any, Any]:
    models, trainers, before, after = library.models, library.trainers, library.pre_tokenizers, library.decoders
    shared = {"vocab_size": vocabulary, "special_tokens": [END, UNKNOWN], "show_progress": False}
    if method == "bpe":
        model, trainer = models.BPE(unk_token=UNKNOWN, fuse_unk=False), trainers.BpeTrainer(**shared)
    elif method == "unigram":
        model, trainer = models.Unigram(), trainers.UnigramTrainer(**shared, unk_token=UNKNOWN)
    else:
        model = models.WordPiece(
            unk_token=UNKNOWN, continuing_subword_prefix=INSIDE, max_input_chars_per_word=LONGEST_WORD
        )
        trainer = trainers.WordPieceTrainer(**shared, continuing_subword_prefix=INSIDE)
    tokenizer = library.Tokenizer(model)
    # pieces begin at a space or at line ends: what is cut before white space is encoded as the whole is
    lines = before.Split(library.Regex(r"[\r\n]+"), "isolated")
    tokenizer.pre_tokenizer = before.Sequence([lines, before.Metaspace(SPACE, prepend_scheme="never")])
    tokenizer.decoder = after.Sequence([after.Replace(INSIDE, ""), after.Replace(SPACE, " "), after.Fuse()])
    return tokenizer, trainer


def read_tokenizer(path: Path, key: str = "--tokenizer") -> Any:
    """The tokenizer of a JSON file of the `tokenizers` library; an error names `key`, the option or config key."""
    library = tokenizers_library()
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise DataError(path, problem, hint=f"{key} names a tokenizer.json of the tokenizers library")
    text = untrusted.read_text(path, untrusted.LARGE)
    try:
        return library.Tokenizer.from_str(text)
    except BaseException as error:  # the library raises nothing narrower, and its panics are no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        hint = "bigtrain data tokenize trains one"
        raise DataError(path, f"is no tokenizer of the tokenizers library: {_short(error)}", hint=hint) from error


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """What the tokens of a tokenizer stand for, with the tokenizer itself."""
    table = tokenizer.get_vocab(with_added_tokens=True)
    size = max(table.values(), default=-1) + 1
    if size > max(MOST_UNUSED, 2 * len(table)):
        problem = f"numbers its {len(table):,} tokens up to {size - 1:,}"
        raise DataError(TOKENIZER, problem, hint="is it damaged?")
    symbols = [f"<unused {token}>" for token in range(size)]
    for symbol, token in table.items():
        symbols[token] = symbol
    tokenizer.no_padding()
    tokenizer.no_truncation()
    plain = tokenizer.to_str()
    unknown = json.loads(plain)["model"].get("unk_token")
    unknown = table.get(unknown, json.loads(plain)["model"].get("unk_id"))
    end = next((table[name] for name in ENDS if name in table), None)
    return Vocabulary(tuple(symbols), end=end, unknown=unknown, tokenizer=plain)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
