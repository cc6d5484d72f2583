"""`bigtrain data inspect`: the page, the picture, the JSON, and the answers to mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import typed

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planted(folder: Path) -> Path:
    """Images of which two test examples are in training, one of them with another label."""
    random = np.random.default_rng(0)
    train, test = random.integers(0, 256, (60, 6, 6), np.uint8), random.integers(0, 256, (20, 6, 6), np.uint8)
    test[:2] = train[:2]
    labels = np.arange(60) % 2, np.array([0, 0, *np.arange(18) % 2])
    np.savez(folder / "set.npz", x_train=train, y_train=labels[0], x_test=test, y_test=labels[1])
    return folder / "set.npz"


def test_digits_on_one_page(workdir: Path) -> None:
    done = typed("data inspect digits")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("digits: 1,797 examples (1,259 train, 179 validation, 359 test)\n")
    assert max(map(len, done.out.splitlines())) <= 79
    assert "inputs   8x8    uint8  features  0 to 1, mean 0.3" in done.out
    assert "picture: inspect-digits.png (a row for each class, 0 to 9)" in done.out
    from PIL import Image

    with Image.open("inspect-digits.png") as picture:
        assert picture.size == (8 * 58 + 2, 10 * 58 + 2)


def test_copies_are_told_with_their_targets(workdir: Path) -> None:
    done = typed(f"data inspect npz data.path={planted(workdir)} data.validation=0 --output grid.png")
    assert "  test, exactly         2 of 20 are in training too, 1 with another target\n" in done.out
    assert "note: test examples are in training too (2 as exact copies)" in done.out
    assert "note: there is no validation split" in done.out
    assert Path("grid.png").is_file()


def test_text_is_decoded(workdir: Path) -> None:
    done = typed("data inspect text")
    assert "example 0  inputs Persuasion\\n\\n\\nby\\n\\nJane Austen" in done.out
    assert "targets Persuasion" not in done.out
    assert not list(workdir.iterdir())


def test_json_has_every_fact(workdir: Path) -> None:
    found = json.loads(typed(f"data inspect npz data.path={planted(workdir)} --json").out)
    assert {"name", "fields", "splits", "measured", "classes", "examples", "leakage", "warnings", "picture"} <= set(
        found
    )
    assert found["leakage"]["exact"]["test"]["number"] >= 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data inspect", "error: data: which data set?\n  allowed: "),
        ("data inspect digit", "did you mean 'digits'?"),
        ("data inspect digits steps=3", "error: steps: is no part of the data\n  allowed: data.FIELD=VALUE"),
        ("data inspect digits text", "error: data: one data set at a time, not digits and text"),
        ("data inspect digits data.lenth=3", "error: data.lenth: "),
        ("data inspect text --output a.png", "error: --output: the inputs of text (64 tokens) are no pictures"),
        (
            "data inspect digits --output a.jpg",
            "error: --output: 'a.jpg' is no .png\n  for example",
        ),
        ("data inspct", "error: there is no command 'inspct' in bigtrain data\n  allowed: inspect, tokenize"),
    ],
)
def test_mistakes(line: str, message: str, workdir: Path) -> None:
    done = typed(line)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_a_file_instead_of_a_name_is_understood(workdir: Path) -> None:
    path = planted(workdir)
    assert f"for a file of yours: bigtrain data inspect npz data.path={path}" in typed(f"data inspect {path}").err


def test_the_verb_alone_prints_its_help() -> None:
    done = typed("data")
    assert (done.code, done.err) == (0, "")
    assert "Usage: bigtrain data" in done.out


def test_it_needs_no_jax(workdir: Path) -> None:
    code = (
        "import sys; sys.argv = ['bigtrain', 'data', 'inspect', 'mnist1d', 'data.examples=200'];"
        "from bigtrain.cli import main; assert main() == 0; assert 'jax' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
