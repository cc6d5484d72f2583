"""Models of texts from end to end: a classifier on raw lines, and a language model of a tokenizer's tokens."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import bigtrain, typed
from texts import write_texts

SMALL = ("model=rnn", "model.width=8", "model.embedding=4", "logger=jsonl", "batch_size=8")


def fit(folder: Path, *overrides: str) -> Path:
    done = bigtrain("fit", *SMALL, f"run_dir={folder}", *overrides)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fruit or tools, trained until it knows."""
    folder = tmp_path_factory.mktemp("texts")
    data = f"data.path={write_texts(folder / 'texts.csv')}"
    return fit(folder / "run", "data=text_classification", data, "steps=120", "optimizer.learning_rate=0.03")


def test_every_line_of_a_file_gets_the_name_of_its_class(classifier: Path, workdir: Path) -> None:
    Path("lines.txt").write_text(
        "Apple plum\nsaw\nhammer DRILL file saw file saw saw, and an unknown word\ncherry pear\n"
    )
    done = typed(f"predict {classifier} --input lines.txt --output out.csv")
    assert (done.code, done.out) == (0, "4 examples -> out.csv: label, probability\n")
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["fruit", "tools", "tools", "fruit"]
    assert set(rows[0]) == {"label", "probability_fruit", "probability_tools"}


def test_the_texts_that_it_was_trained_on_are_predicted_as_they_were_judged(classifier: Path, workdir: Path) -> None:
    path = write_texts(Path("texts.csv"))
    assert typed(f"predict {classifier} --input {path} --output out.jsonl").code == 0
    found = [json.loads(line)["label"] for line in Path("out.jsonl").read_text().splitlines()]
    labels = [row["label"] for row in csv.DictReader(path.read_text().splitlines())]
    share = np.mean([ours == theirs for ours, theirs in zip(found, labels, strict=True)])
    assert share >= 0.95


def test_a_file_that_is_no_text_of_the_model_s_is_refused_in_one_line(classifier: Path, workdir: Path) -> None:
    Path("a.txt").write_bytes(b"caf\xe9\n")
    done = typed(f"predict {classifier} --input a.txt --output out.csv")
    problem = (
        "a.txt: is not utf-8: invalid continuation byte at byte 3\n  save it as utf-8, which the model was trained on"
    )
    assert (done.code, done.err) == (2, f"error: {problem}\n")


def test_a_stranger_s_run_that_does_not_say_how_texts_are_read_is_refused(classifier: Path, workdir: Path) -> None:
    import shutil

    run = Path(shutil.copytree(classifier, workdir / "run"))
    path = next(run.rglob("spec.json"))
    Path("a.txt").write_text("saw\n")
    for settings in ({"level": "lines"}, {"length": 10**9}, {"encoding": "utf-9"}, {"length": 3}):
        plain = json.loads(path.read_text())
        good = dict(plain["reader"]["settings"])
        plain["reader"]["settings"] |= settings
        path.write_text(json.dumps(plain))
        done = typed("predict run --input a.txt --output out.csv")
        assert done.code == 2, settings
        assert "error: " in done.err
        assert "bug" not in done.err
        plain["reader"]["settings"] = good
        path.write_text(json.dumps(plain))


def test_a_language_model_of_tokens_writes_text(workdir: Path) -> None:
    Path("fox.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 80)
    assert typed("data tokenize fox.txt --output tokens --vocabulary 280").code == 0
    run = fit(
        workdir / "run", "data=text", "data.path=tokens", "data.length=8", "steps=40", "optimizer.learning_rate=0.03"
    )
    done = typed(f"sample {run} -n 2 --length 30 --prompt 'the quick'")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("the quick") >= 2
    alone = typed(f"sample {run} -n 3 --length 30").out
    assert "<|endoftext|>" not in alone
    assert set(alone) <= set(Path("fox.txt").read_text())
