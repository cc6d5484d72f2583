"""Texts with a class: files of every layout, vocabularies of the training texts, and what is refused."""

import gzip

import numpy as np
import pytest
from texts import write_texts

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.labelled_texts import Wanted, table
from bigtrain.data.text_classification import text_classification
from bigtrain.data.text_reader import read_texts
from bigtrain.data.tokenization import tokenize

WHOLE = {"validation": 0, "test": 0}


def write(folder, content, name="a.csv", encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return str(path)


def shown(data, split="train"):
    """Texts as words and their classes."""
    batch = data.splits[split][np.arange(len(data.splits[split]))]
    return [
        (" ".join(data.spec.vocabulary.symbols[token] for token in row[:length]), data.spec.classes[label])
        for row, length, label in zip(batch["inputs"], batch["lengths"], batch["targets"], strict=True)
    ]


FOUR = [("it is good .", "pos"), ("bad , isn't it", "neg"), ('say " hi "', "pos"), ("two lines", "neg")]
FILES = {
    "a.csv": 'text,label\nIt is good.,pos\n"Bad, isn\'t it",neg\n"Say ""hi""",pos\n"Two\nlines",neg\n',
    "b.csv": 'label;title;id\npos;It is good.;1\nneg;Bad, isn\'t it;2\npos;"Say ""hi""";3\nneg;"Two\nlines";4\n',
    "c.tsv": 'It is good.\tpos\nBad, isn\'t it\tneg\n"Say ""hi"""\tpos\n"Two\nlines"\tneg\n',
    "d.tsv": 'pos\tIt is good.\r\nneg\tBad, isn\'t it\r\npos\tSay "hi"\r\nneg\tTwo lines\r\n',
    "e.jsonl": '{"text": "It is good.", "label": "pos"}\n\n{"label": "neg", "text": "Bad, isn\'t it"}\n'
    '{"text": "Say \\"hi\\"", "label": "pos"}\n{"text": "Two\\nlines", "label": "neg", "more": 1}\n',
    "f.csv.gz": gzip.compress(b"\xef\xbb\xbfText,Label\nIt is good.,pos\n\"Bad, isn't it\",neg\n"
                              b'"Say ""hi""",pos\nTwo lines,neg\n'),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_table_is_read_whatever_its_layout(tmp_path, name):
    data = text_classification(path=write(tmp_path, FILES[name], name), **WHOLE)
    assert shown(data) == FOUR
    assert data.spec.classes == ("neg", "pos")
    assert {name: entry.kind for name, entry in data.spec.fields.items()} == {
        "inputs": "tokens", "lengths": "length", "targets": "label",
    }  # fmt: skip


def test_a_lone_quotation_mark_in_a_tsv_stands_for_itself(tmp_path):
    content = '"Good\tpos\nbad"\tneg\n"quoted"\tpos\nplain\tneg\n'
    data = text_classification(path=write(tmp_path, content, "a.tsv"), **WHOLE)
    assert [text for text, _ in shown(data)] == ['" good', 'bad "', '" quoted "', "plain"]


def test_folders_are_classes_with_and_without_splits(tmp_path):
    for split in ("", "train/", "test/"):
        for name, text in (
            ("neg/1.txt", "bad\nfilm"),
            ("neg/2.TXT", "awful"),
            ("pos/1.txt", "fine film"),
            ("pos/x.md", ""),
        ):
            write(tmp_path / ("two" if split else "one"), f"{text} {split[:-1]}", f"{split}{name}")
    one = text_classification(path=str(tmp_path / "one"), **WHOLE)
    assert shown(one) == [("bad film", "neg"), ("awful", "neg"), ("fine film", "pos")]
    two = text_classification(path=str(tmp_path / "two"), validation=0)
    assert shown(two) == [("bad film train", "neg"), ("awful train", "neg"), ("fine film train", "pos")]
    assert shown(two, "test")[0] == ("bad film <unknown>", "neg")


def test_files_called_train_and_test_are_the_splits(tmp_path):
    write(tmp_path, "a b,x\nb c,y\n", "train.csv")
    write(tmp_path, "c d,x\n", "test.csv")
    data = text_classification(path=str(tmp_path), validation=0)
    assert shown(data) == [("a b", "x"), ("b c", "y")]
    assert shown(data, "test") == [("c <unknown>", "x")]


def test_the_vocabulary_is_of_the_training_texts_and_limited(tmp_path):
    write(tmp_path, "a a a b b c,x\na b d,y\n", "train.csv")
    write(tmp_path, "e e e e a,x\n", "test.csv")
    data = text_classification(path=str(tmp_path), validation=0, vocabulary=4)
    assert data.spec.vocabulary.symbols == ("<unknown>", "a", "b", "c")
    assert data.spec.notes["vocabulary"] == "3 of 4 words of the training texts"
    assert shown(data, "test") == [("<unknown> <unknown> <unknown> <unknown> a", "x")]


def test_long_texts_are_cut_and_short_ones_filled_up(tmp_path):
    data = text_classification(path=write(tmp_path, "a b c d e,x\nf,y\n"), length=3, **WHOLE)
    batch = data.splits["train"][np.arange(2)]
    assert batch["inputs"].shape == (2, 3)
    assert batch["lengths"].tolist() == [3, 1]
    assert batch["inputs"][1, 1:].tolist() == [0, 0]
    assert data.spec.notes["cut"] == "1 texts to 3 tokens (data.length)"
    assert text_classification(path=write(tmp_path, "a b,x\nf,y\n"), length=99, **WHOLE).spec.inputs.shape == (2,)


def test_texts_of_white_space_are_left_out(tmp_path):
    data = text_classification(path=write(tmp_path, "text,label\na b,x\n  ,y\nc,y\n,x\n"), **WHOLE)
    assert shown(data) == [("a b", "x"), ("c", "y")]
    assert data.spec.notes["empty"] == "2 texts without a word, left out"


def test_characters_bytes_and_tokens(tmp_path):
    path = write(tmp_path, "Añ b,x\nb,y\n")
    characters = text_classification(path=path, level="characters", **WHOLE)
    assert shown(characters)[0][0] == "a ñ   b"
    assert shown(text_classification(path=path, level="characters", lowercase=False, **WHOLE))[0][0] == "A ñ   b"
    batch = text_classification(path=path, level="bytes", lowercase=False, **WHOLE).splits["train"][np.arange(1)]
    assert bytes(batch["inputs"][0]) == "Añ b".encode()
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Añ b " * 9)
    tokenize([corpus], tmp_path / "tok", vocabulary=300)
    data = text_classification(path=path, tokenizer=str(tmp_path / "tok" / "tokenizer.json"), **WHOLE)
    batch = data.splits["train"][np.arange(2)]
    assert data.spec.vocabulary.decode(batch["inputs"][0, : batch["lengths"][0]]) == "Añ b"


def test_splits_are_the_same_for_every_vocabulary_and_hold_all_texts(tmp_path):
    path = str(write_texts(tmp_path / "a.csv", 50))
    first, second = (text_classification(path=path, level=level) for level in ("words", "bytes"))
    assert dict(first.spec.sizes) == {"train": 40, "validation": 5, "test": 5}
    for split, source in first.splits.items():
        ours, theirs = (one[np.arange(len(source))]["targets"] for one in (source, second.splits[split]))
        np.testing.assert_array_equal(ours, theirs)


BROKEN = {
    "none": (None, {}, "data.path: no file is given\n"
               "  allowed: a .csv, .tsv or .jsonl file, or a folder with one folder a class\n"
             "  for example: bigtrain fit model=rnn data=text_classification data.path=reviews.csv"),
    "encoding": ("text,label\ncaf\xe9,x\nb,y\n".encode("latin-1"), {},
               "{}: is not utf-8: invalid continuation byte at byte 14\n"
                 "  set data.encoding to the file's encoding, for example data.encoding=latin-1"),
    "unknown encoding": ("a,x\n", {"encoding": "utf-9"}, "data.encoding: no encoding is called 'utf-9'\n"
               "  utf-8 is usual"),
    "one column": ("hello\nworld\n", {}, "{}: has a single column: 'hello'\n"
                   "  it needs a column of texts and one of labels, between them a comma, semicolon or tab"),
    "ragged": ("text,label\na,x\nb, c,y\n", {}, "{}: line 3 has 3 cells, and line 1 has 2\n"
               "  put texts that hold the delimiter or a line end in double quotes"),
    "which column": ("p,q,r\na,x,1\nb,y,1\n", {"header": True}, "data.text: several columns of {} may be the text\n"
               "  allowed: p, q, r"),
    "no such column": ("text,label\na,x\nb,y\n", {"label": "lable"}, "data.label: there is no column 'lable'\n"
                       "  allowed: text, label, 0 to 1\n  did you mean 'label'?"),
    "the same column": ("text,label\na,x\nb,y\n", {"label": "text"},
               "data.label: the column is the text's too: text"),
    "no label": ("text,label\na,x\nb,\n", {}, "{}: line 3: the text has no label\n  label it, or remove it"),
    "one class": ("text,label\na,x\nb,x\n", {}, "{}: all its texts are of one class, 'x'\n"
               "  is data.label the right column?"),
    "no classes": ("text,label\n" + "".join(f"a{at},x{at}\n" for at in range(30)), {},
                   "{}: 30 texts have 30 different labels, such as 'x0'\n"
               "  name the column of the classes: data.label=…"),
    "header alone": ("text,label\n", {}, "{}: has no texts"),
    "all empty": ("text,label\n ,x\n ,y\n", {}, "{}: all its texts are empty"),
    "tokens": ("text,label\na,x\nb,y\n", {"level": "tokens"}, "data.tokenizer: level=tokens needs a tokenizer\n"
               "  train one: bigtrain data tokenize FILES --output DIR, then data.tokenizer=DIR/tokenizer.json"),
    "words and a tokenizer": ("text,label\na,x\nb,y\n", {"level": "words", "tokenizer": "t.json"},
                              "data.level: 'words' can't be had: the tokenizer makes tokens\n  leave it out"),
    "no room": ("text,label\na,x\nb,y\n", {"vocabulary": 1, **WHOLE},
               "data.vocabulary: 1 leaves room for <unknown> alone\n  allowed: from 2 on"),
    "open quote": ('text,label\n"a,x\nb,y\n', {}, "{}: line 3: unexpected end of data\n"
               "  is a quotation mark left open?"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_cannot_be_used_is_answered_with_one_message(tmp_path, case):
    content, options, message = BROKEN[case]
    path = None if content is None else write(tmp_path, content)
    with pytest.raises((ConfigError, DataError)) as caught:
        text_classification(path=path, **options)
    assert str(caught.value) == message.replace("{}", str(path))


def test_json_lines_that_are_none_and_folders_without_classes_are_named(tmp_path):
    for content, problem in (
        ("{", "line 1 is no JSON: "),
        ("[1]\n", "line 1 is no JSON object"),
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', "line 2 has no 'label'"),
    ):
        with pytest.raises(DataError, match=problem):
            text_classification(path=write(tmp_path, content, "a.jsonl"))
    write(tmp_path, "a", "flat/1.txt")
    with pytest.raises(
        DataError, match=r"flat: has no folders of classes\n  put the \.txt files into one folder a class"
    ):
        text_classification(path=str(tmp_path / "flat"))
    with pytest.raises(DataError, match=r"a\.doc: is no table of texts: \.doc\n  it reads \.csv"):
        text_classification(path=write(tmp_path, "a", "a.doc"))


def test_a_first_row_is_a_header_if_its_label_is_like_no_other(tmp_path):
    rows = "".join(f"text {at},{'xy'[at % 2]}\n" for at in range(8))
    assert table_of(tmp_path, rows)[0] is None
    assert table_of(tmp_path, "was sagt er,art\n" + rows)[0] == ["was sagt er", "art"]
    assert table_of(tmp_path, rows, header=True)[0] == ["text 0", "x"]


def table_of(folder, content, **options):
    from pathlib import Path

    return table(Path(write(folder, content)), Wanted(**options))


def test_a_user_s_lines_and_tables_are_read_as_in_training(tmp_path):
    data = text_classification(path=write(tmp_path, "id,review,label\n1,A good film,x\n2,bad,y\n"), **WHOLE)
    expected = data.splits["train"][np.arange(2)]
    for name, content in (
        ("q.txt", "a GOOD film\r\nbad\n"),
        ("q.csv", "id,review\n7,A good film\n8,bad\n"),
        ("q.tsv", "A good film\nbad\n"),
        ("q.jsonl", '{"text": "A good film"}\n{"text": "bad"}\n'),
    ):
        found = read_texts(tmp_path / name, data.spec) if write(tmp_path, content, name) else {}
        np.testing.assert_array_equal(found["inputs"], expected["inputs"], err_msg=name)
        np.testing.assert_array_equal(found["lengths"], expected["lengths"])
        assert found["inputs"].dtype == expected["inputs"].dtype


def test_a_user_s_file_that_is_not_understood_is_named(tmp_path):
    data = text_classification(path=write(tmp_path, "text,label\ngood,x\nbad,y\n"), **WHOLE)
    for name, content, problem in (
        ("q.txt", "a\n\nb\n", "line 2 has no text\n  every line is a text, and gets a line of the output"),
        (
            "q.txt",
            b"\xff\n",
            "is not utf-8: invalid start byte at byte 0\n  save it as utf-8, which the model was trained on",
        ),
        (
            "q.csv",
            "id,label\n1,x\n2,y\n",
            "none of its columns is called text: id, label\n  name the column of the texts so",
        ),
    ):
        write(tmp_path, content, name)
        with pytest.raises(DataError) as caught:
            read_texts(tmp_path / name, data.spec)
        assert str(caught.value) == f"{tmp_path / name}: {problem}"
