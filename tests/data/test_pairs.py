"""Pairs of texts from tab-separated files: what is read, how it is split, and what is refused."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bigtrain.config.errors import BigtrainError
from bigtrain.data.pairs import pairs
from bigtrain.data.serialize import spec_from_json, spec_to_json
from bigtrain.data.sources import read_sources

LINES = ["ab\tX Y", "ab\tX", "ba\tY", "abc\tX Y Z", "c\tZ", "a b\tX", "bb\tY Y", "ca\tZ X", "cc\tZ Z", "aa\tX X"]


def written(folder, lines=LINES, name="pairs.tsv", encoding="utf-8"):
    path = Path(folder) / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def examples(dataset, split):
    """The pairs of a split as texts: (source, target, references)."""
    spec, source = dataset.spec, dataset.splits[split]
    batch = source[np.arange(len(source))]
    found = []
    for row in range(len(source)):
        text = spec.vocabulary.decode(batch["inputs"][row][: batch["lengths"][row]])
        target = batch["targets"][row]
        assert target[batch["target_lengths"][row] - 1] == spec.target_vocabulary.end
        assert (target[batch["target_lengths"][row] :] == spec.target_vocabulary.end).all()
        references = batch.get("references", batch["targets"][:, None])[row]
        found.append((text, spec.target_vocabulary.decode(target), [*map(spec.target_vocabulary.decode, references)]))
    return found


def test_training_has_every_pair_and_evaluation_every_source_once_with_its_references(tmp_path):
    lines = [f"{'ab' * (row % 7)}{row}\t{row} {target}" for row in range(40) for target in range(1 + row % 3)]
    dataset = pairs(path=str(written(tmp_path, lines)), target_level="words", validation=0.25, test=0.25)
    wanted = {}
    for line in lines:
        wanted.setdefault(line.split("\t")[0], []).append(line.split("\t")[1])
    trained, held = examples(dataset, "train"), [*examples(dataset, "validation"), *examples(dataset, "test")]
    sources = {source for source, _, _ in trained}
    assert sorted((source, target) for source, target, _ in trained) == sorted(
        (source, target) for source in sources for target in wanted[source]
    )
    assert len(held) == 20
    assert {source for source, _, _ in held} == set(wanted) - sources
    for source, target, references in held:
        assert target == wanted[source][0]
        assert [*dict.fromkeys(references)] == wanted[source]
    assert dataset.spec.fields["references"].shape == (3, 3)
    assert dataset.spec.notes["pairs"] == f"{len(lines)} of 40 distinct sources"


def test_one_target_a_source_needs_no_references(tmp_path):
    lines = [line for line in LINES if line != "ab\tX"]
    assert "references" not in pairs(path=str(written(tmp_path, lines))).spec.fields


@pytest.mark.parametrize("level", ["characters", "words", "bytes"])
def test_texts_come_back_at_every_level(tmp_path, level):
    lines = ["über  naïve\tçava 12", "b\tl'été ß"]
    path = written(tmp_path, lines)
    dataset = pairs(path=str(path), source_level=level, target_level=level, validation=0, test=0)
    space = " " if level == "words" else "  "
    assert [(source, target) for source, target, _ in examples(dataset, "train")] == [
        (f"über{space}naïve", "çava 12"), ("b", "l'été ß"),
    ]  # fmt: skip
    again = spec_from_json(__import__("json").loads(spec_to_json(dataset.spec)), "spec.json")
    assert again.target_vocabulary == dataset.spec.target_vocabulary
    assert again.reader == dataset.spec.reader


def test_a_tokenizer_is_a_level(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "go": 1, "home": 2}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    path = written(tmp_path, ["go home\thome go", "go\tgo"])
    level = str(tmp_path / "tokenizer.json")
    dataset = pairs(path=str(path), source_level=level, target_level=level, validation=0, test=0)
    assert dataset.spec.target_vocabulary.symbols == ("<unk>", "go", "home", "<start>", "<end>")
    assert [(source, target) for source, target, _ in examples(dataset, "train")] == [
        ("go home", "home go"), ("go", "go"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "options", "number"),
    [
        ("source\ttarget", {}, 10),
        ("word\tsound", {}, 11),
        ("word\tsound", {"header": "yes"}, 10),
        ("source\ttarget", {"header": "no"}, 11),
        ("word\tsound", {"source": "word", "target": "sound"}, 10),
    ],
)
def test_a_header_is_understood(tmp_path, first, options, number):
    dataset = pairs(path=str(written(tmp_path, [first, *LINES])), validation=0, test=0, **options)
    assert dataset.spec.sizes["train"] == number


def test_columns_are_chosen_by_place_or_name(tmp_path):
    lines = ["n\tto\tfrom", "1\tX\tab", "2\tY\tba", "3\tZ\tc"]
    path = str(written(tmp_path, lines))
    named = pairs(path=path, source="from", target="to", validation=0, test=0)
    placed = pairs(path=path, source=2, target=1, header="yes", validation=0, test=0)
    assert examples(named, "train") == examples(placed, "train")
    assert [source for source, _, _ in examples(named, "train")] == ["ab", "ba", "c"]


def test_a_folder_has_a_file_for_each_split_and_gzip_and_windows_lines_are_read(tmp_path):
    with gzip.open(tmp_path / "train.tsv.gz", "wb") as stream:
        stream.write("\r\n".join(LINES).encode("utf-8-sig"))
    written(tmp_path, ["ab\tX", "new\tZ"], "test.tsv")
    dataset = pairs(path=str(tmp_path), validation=0.2)
    assert dataset.spec.sizes == {"train": 8, "validation": 2, "test": 2}
    assert dataset.spec.notes["splits"] == "1 sources of the training file are in another one too"


def test_long_pairs_are_left_out_and_counted(tmp_path):
    dataset = pairs(path=str(written(tmp_path)), target_level="words", max_length=2, validation=0, test=0)
    assert dataset.spec.inputs.shape == (2,)
    assert dataset.spec.targets.shape == (3,)  # two words and the end
    assert dataset.spec.notes["left out"] == "2 pairs with more than 2 tokens on a side (data.max_length)"


def test_rare_and_new_words_of_a_source_are_unknown(tmp_path):
    path = written(tmp_path, ["go home\tX", "go away\tY", "go now\tZ"], "train.tsv")
    written(tmp_path, ["stay home\tX"], "test.tsv")
    dataset = pairs(path=str(path.parent), source_level="words", min_count=2, validation=0)
    assert dataset.spec.vocabulary.symbols == ("go", "<unknown>")
    assert examples(dataset, "test")[0][0] == "<unknown> <unknown>"


def test_the_splits_do_not_depend_on_the_seed_and_are_disjoint(tmp_path):
    path = str(written(tmp_path, [f"{row}\t{row}" for row in range(50)]))
    parts = [{s for s, _, _ in examples(pairs(path=path), split)} for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [40, 5, 5]
    assert len(set.union(*parts)) == 50
    assert parts == [{s for s, _, _ in examples(pairs(path=path), split)} for split in ("train", "validation", "test")]


REFUSED = {
    "one column": (["ab X"], {}, "line 1 has 1 column, and column 1 is read (counted from 0)\n  a tab stands between"),
    "too few columns": (["a\tb"], {"target": 4}, "line 1 has 2 columns, and column 4 is read (counted from 0)"),
    "empty target": (["a\tb", "c\t "], {}, "line 2: its target is empty\n  remove the line, or complete it"),
    "no pairs": (["", " "], {}, "holds no pairs"),
    "no name": (["a\tb", "c\td"], {"source": "x"}, "data.source: "),
    "header alone": (["source\ttarget"], {}, "holds no pairs below its header\n  if it has none set data.header=no"),
    "names without header": (["a\tb"], {"source": "a", "header": "no"}, "data.header: 'no' leaves no names"),
    "level": (["a\tb"], {"target_level": "letters"}, "data.target_level: 'letters' is no level, and there is no such"),
    "nothing short": (["ab\tb"], {"max_length": 1}, "data.max_length: 1 leaves no pair to train on"),
    "special word": (["a\t<end> b"], {"target_level": "words"}, "'<end>' is a word of the file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_with_what_to_do(tmp_path, name):
    lines, options, message = REFUSED[name]
    with pytest.raises(BigtrainError) as caught:
        pairs(path=str(written(tmp_path, lines)), **{"validation": 0, "test": 0, **options})
    assert message in str(caught.value)


def test_another_encoding_names_the_key_to_set(tmp_path):
    path = str(written(tmp_path, ["é\tü"], encoding="latin-1"))
    with pytest.raises(BigtrainError, match=r"is not utf-8.*(?s:.)*set data\.encoding to the file's encoding"):
        pairs(path=path)
    assert pairs(path=path, encoding="latin-1", validation=0, test=0).spec.vocabulary.symbols == ("é",)


def test_no_file_and_no_folder_say_what_is_needed(tmp_path):
    with pytest.raises(BigtrainError, match=r"data\.path: no file is given"):
        pairs()
    with pytest.raises(BigtrainError, match=r"has no train\.tsv"):
        pairs(path=str(tmp_path))


def test_sources_of_a_user_are_read_like_those_of_training(tmp_path):
    spec = pairs(path=str(written(tmp_path)), validation=0, test=0).spec
    found = read_sources(written(tmp_path, ["ab\tignored", " c "], "mine.tsv"), spec)
    assert [spec.vocabulary.decode(row[:n]) for row, n in zip(found["inputs"], found["lengths"], strict=True)] == [
        "ab", "c",
    ]  # fmt: skip
    assert found["inputs"].shape == (2, *spec.inputs.shape)
    for lines, message in {
        ("ab", "xy"): "line 2: the model's text had no 'x', 'y'",
        ("ab", "", "c"): "line 2: is empty\n  each line is a source, and gets a line of the output",
        ("abcabc",): "line 1: has 6 characters, and the model was trained on at most 3",
    }.items():
        with pytest.raises(BigtrainError) as caught:
            read_sources(written(tmp_path, lines, "mine.txt"), spec)
        assert message in str(caught.value)


def test_the_dictionary_is_prepared_the_same_way_everywhere(tmp_path):
    entries = ["abbey AE1 B IY0", "tomato T AH0 M EY1 T OW2", "tomato(2) T AH0 M AA1 T OW2", "a.m. EY2 EH1 M",
               "word W ER1 D # note", "word(2) W ER0 D", "it's IH1 T S", "x EH1 K S"]  # fmt: skip
    source = tmp_path / "cmudict.dict"
    source.write_text("\n".join(entries) + "\n")
    script = Path(__file__).parents[2] / "scripts" / "prepare_cmudict.py"
    done = subprocess.run(
        [sys.executable, script, source, tmp_path / "out.tsv"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"4 pronunciations of 3 words -> {tmp_path / 'out.tsv'}\n"
    assert (tmp_path / "out.tsv").read_text().splitlines() == [
        "abbey\tAE B IY", "tomato\tT AH M EY T OW", "tomato\tT AH M AA T OW", "word\tW ER D",
    ]  # fmt: skip
