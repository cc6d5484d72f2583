"""Tokenizers: round trips, pieces that change nothing, the files that are written, and what is refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigtrain.cli.tokenize import run
from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.tokenization import cut, encoded, pieces, read_tokens, tokenize
from bigtrain.data.tokenizer import END, new_tokenizer, vocabulary_of
from bigtrain.data.vocabulary import Vocabulary

TEXT = (
    "It was a dark and stormy night; the rain fell in torrents,\r\nexcept at occasional intervals.\n\n"
    "\tThe wind -- it's cold -- swept up the streets   (## 1830 ##).\n" * 3
) + "Añ é 😀 漢字\n"
METHODS = ("bytes-bpe", "bpe", "unigram", "wordpiece")
SIZE = 400


@pytest.fixture(scope="module")
def tokenizers():
    return {method: new_tokenizer([TEXT], SIZE, method) for method in METHODS}


@pytest.fixture(scope="module")
def vocabularies(tokenizers):
    return {method: vocabulary_of(tokenizer) for method, tokenizer in tokenizers.items()}


def write(folder, content, name="a.txt"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("method", METHODS[:3])
@pytest.mark.parametrize(
    "text", [TEXT, "It  was\r\n\r\n", " ", "\n", "## ##a", "😀é漢", "night" * 20, "stormy\t it's   "], ids=repr
)
def test_known_characters_come_back_as_they_were(vocabularies, method, text):
    vocabulary = vocabularies[method]
    tokens = vocabulary.encode(text, "x")
    assert tokens.dtype == np.int32
    assert vocabulary.decode(tokens) == text
    assert vocabulary.unknown is None or vocabulary.unknown not in tokens


@pytest.mark.parametrize("text", [TEXT, "The rain,\r\nThe wind", "cold   dark ##"], ids=repr)
def test_word_pieces_write_characters_in_the_places_where_they_were_seen(vocabularies, text):
    vocabulary = vocabularies["wordpiece"]
    assert vocabulary.decode(vocabulary.encode(text, "x")) == text
    assert vocabulary.unknown in vocabulary.encode("rainA", "x")  # seen, but never inside a word


@settings(max_examples=150, deadline=None)
@given(text=st.text(min_size=1).filter(lambda text: END not in text))
def test_bytes_write_every_text(vocabularies, text):
    vocabulary = vocabularies["bytes-bpe"]
    assert vocabulary.decode(vocabulary.encode(text, "x")) == text


@pytest.mark.parametrize("method", METHODS[1:])
def test_characters_that_were_not_seen_are_unknown(vocabularies, method):
    vocabulary = vocabularies[method]
    assert vocabulary.symbols[vocabulary.unknown] == "<unknown>"
    assert vocabulary.unknown in vocabulary.encode("ЖЖ night", "x")


@pytest.mark.parametrize("method", METHODS)
def test_a_vocabulary_is_no_larger_than_asked_and_its_tokens_are_all_reached(tokenizers, vocabularies, method):
    vocabulary = vocabularies[method]
    assert len(vocabulary) <= SIZE
    assert len(set(vocabulary.symbols)) == len(vocabulary)
    assert vocabulary.symbols[vocabulary.end] == END
    assert vocabulary.encode("the night", "x").tolist() == tokenizers[method].encode("the night").ids


def test_a_decoded_text_ends_at_the_end_token(vocabularies):
    vocabulary = vocabularies["bytes-bpe"]
    tokens = [*vocabulary.encode("the rain", "x"), vocabulary.end, *vocabulary.encode("and wind", "x")]
    assert vocabulary.decode(tokens) == "the rain"
    assert vocabulary.encode(f"a{END}", "x").tolist()[-1] == vocabulary.end


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_a_text_in_pieces_has_the_tokens_of_the_whole(tmp_path, tokenizers, method, size):
    path = write(tmp_path, TEXT)
    found = list(pieces(path, "utf-8", size))
    assert "".join(found) == TEXT
    assert len(found) > 1 or size == 1000
    tokens = np.concatenate(list(encoded(tokenizers[method], found)))
    assert tokens.tolist() == tokenizers[method].encode(TEXT).ids


def test_a_text_without_white_space_is_cut_somewhere():
    found = list(cut(["ab" * 50, "c"], 3))
    assert "".join(found) == "ab" * 50 + "c"
    assert max(map(len, found)) <= 16 * 3


def test_characters_that_lie_across_two_reads_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("bigtrain.data.tokenization.CHUNK", 3)
    for encoding in ("utf-8", "utf-16", "latin-1"):
        text = TEXT if encoding != "latin-1" else "né à\r\n" * 9
        assert "".join(pieces(write(tmp_path, text.encode(encoding)), encoding, 5)) == text
    assert "".join(pieces(write(tmp_path, gzip.compress(b"\xef\xbb\xbf" + TEXT.encode()), "a.gz"), "utf-8")) == TEXT


def test_files_become_tokens_with_the_end_after_each(tmp_path):
    files = [write(tmp_path, TEXT), write(tmp_path, "", "empty.txt"), write(tmp_path, "The rain\n", "b.txt")]
    facts = tokenize(files, tmp_path / "out", vocabulary=300)
    tokens, vocabulary = read_tokens(tmp_path / "out")
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.uint16
    whole = [*vocabulary.encode(TEXT, "x"), vocabulary.end, *vocabulary.encode("The rain\n", "x"), vocabulary.end]
    assert tokens.tolist() == whole
    assert (facts["tokens"], facts["characters"], facts["vocabulary"]) == (len(whole), len(TEXT) + 9, len(vocabulary))
    assert [entry["tokens"] for entry in facts["files"]] == [
        len(whole) - 1 - len(vocabulary.encode("The rain\n", "x")),
        0,
        len(whole) - facts["files"][0]["tokens"],
    ]
    assert json.loads((tmp_path / "out" / "tokens.json").read_text()) == facts
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tokens.npy", "tokens.json", "tokenizer.json"}


def test_a_tokenizer_that_exists_only_encodes(tmp_path):
    first, second = write(tmp_path, TEXT), write(tmp_path, "Жthe rain", "b.txt")
    tokenize([first], tmp_path / "one", vocabulary=200, method="bpe")
    facts = tokenize([second], tmp_path / "two", tokenizer=tmp_path / "one" / "tokenizer.json")
    assert (facts["method"], facts["unknown"]) == (None, 1)
    ours, theirs = read_tokens(tmp_path / "two")[1], read_tokens(tmp_path / "one")[1]
    assert isinstance(ours, Vocabulary)
    assert ours.symbols == theirs.symbols
    assert ours.decode(read_tokens(tmp_path / "two")[0]) == "<unknown>the rain"


def test_a_large_vocabulary_takes_four_bytes_a_token(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{at}": at for at in range(70_000)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "t.json"))
    tokenize([write(tmp_path, "w69999 w3")], tmp_path / "out", tokenizer=tmp_path / "t.json")
    tokens, vocabulary = read_tokens(tmp_path / "out")
    assert (tokens.dtype, tokens.tolist(), vocabulary.end, vocabulary.unknown) == (np.uint32, [69999, 3], None, 0)


BROKEN = {
    "method": (
        {"method": "bep"},
        "--method: 'bep' is none\n  allowed: bytes-bpe, bpe, unigram, wordpiece\n  did you mean 'bpe'?",
    ),
    "small": ({"vocabulary": 100}, "--vocabulary: 100 is too small for the bytes\n  allowed: from 257 on"),
    "smaller than the alphabet": (
        {"vocabulary": 10, "method": "bpe"},
        "--vocabulary: 10 is too small for the characters of the text\n  allowed: from {alphabet} on, "
        "or --method bytes-bpe",
    ),
    "encoding": ({"encoding": "utf-9"}, "--encoding: no encoding is called 'utf-9'\n  utf-8 is usual"),
    "no such encoding": (
        {"encoding": "ascii"},
        "{folder}/a.txt: is not ascii: ordinal not in range(128) at byte {at}\n"
        "  set --encoding to the file's encoding, for example --encoding latin-1",
    ),
    "no tokenizer": (
        {"tokenizer": Path("none.json")},
        "none.json: no such file\n  --tokenizer names a tokenizer.json of the tokenizers library",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_is_answered_with_one_message(tmp_path, case):
    options, message = BROKEN[case]
    alphabet, at = len(set(TEXT) - {" "}) + 3, len(TEXT.split("ñ")[0].encode())
    with pytest.raises((ConfigError, DataError)) as caught:
        tokenize([write(tmp_path, TEXT)], tmp_path / "out", **options)
    assert str(caught.value) == message.format(folder=tmp_path, alphabet=alphabet, at=at)
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_texts_are_refused(tmp_path):
    for name, content, problem in (
        ("a.txt", "", "is empty"),
        ("b.txt", b"\x7fELF\0", "is no text: it has NUL bytes\n  set --encoding to the file's encoding"),
        (
            "c.gz",
            b"plain",
            "is not a whole gzip file: Not a gzipped file (b'pl')\n  the file was cut short or damaged: fetch it again",
        ),
    ):
        with pytest.raises(DataError) as caught:
            tokenize([write(tmp_path, content, name)], tmp_path / "out")
        assert str(caught.value) == f"{tmp_path / name}: {problem}"
    with pytest.raises(DataError, match="no such file"):
        tokenize([tmp_path / "none.txt"], tmp_path / "out")


def test_tokens_that_are_there_are_not_written_over(tmp_path):
    path = write(tmp_path, TEXT)
    tokenize([path], tmp_path / "out", vocabulary=300)
    with pytest.raises(DataError, match=r"out: holds tokens already\n  remove it, or name another folder by --output$"):
        tokenize([path], tmp_path / "out", vocabulary=300)


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    path = write(tmp_path, '{"a": 1}', "t.json")
    with pytest.raises(DataError, match=r"t\.json: is no tokenizer of the tokenizers library: .*\n  bigtrain data tok"):
        tokenize([write(tmp_path, TEXT)], tmp_path / "out", tokenizer=path)
    with pytest.raises(DataError, match=r"^the tokenizer: is none of the tokenizers library: "):
        Vocabulary(("a",), tokenizer="{}").encode("a", "x")


def test_the_command_says_what_it_wrote_and_what_to_type(tmp_path, capsys):
    out = tmp_path / "out"
    run(
        [write(tmp_path, TEXT)],
        out,
        vocabulary=300,
        method="bytes-bpe",
        tokenizer=None,
        encoding="utf-8",
        as_json=False,
    )
    tokens = len(read_tokens(out)[0])
    assert capsys.readouterr().out == (
        f"1 text, {len(TEXT)} characters -> {tokens} tokens: {out}\n"
        f"a vocabulary of 300; a token is {len(TEXT) / tokens:.2f} characters\n"
        f"next: bigtrain fit model=rnn data=text data.path={out}\n"
    )
    two = tmp_path / "two"
    run(
        [tmp_path / "a.txt"],
        two,
        vocabulary=0,
        method="bpe",
        tokenizer=out / "tokenizer.json",
        encoding="utf-8",
        as_json=True,
    )
    assert json.loads(capsys.readouterr().out)["tokens"] == tokens
