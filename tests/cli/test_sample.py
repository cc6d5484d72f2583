"""`bigtrain sample` for texts: prompts, of a file too, several at once, and how they are printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import typed

FOX = "the quick brown fox"


def test_several_prompts_stand_under_a_line_each(trained_text: Path) -> None:
    done = typed(f"sample {trained_text} --prompt the --prompt 'quick brown' --length 9 --temperature 0")
    assert (done.code, done.err) == (0, "")
    first, second = (
        typed(f"sample {trained_text} -n 1 --prompt '{prompt}' --length 9 --temperature 0").out.rstrip("\n")
        for prompt in ("the", "quick brown")
    )
    assert (len(first), len(second)) == (3 + 9, 11 + 9)
    assert done.out == f"[prompt 1 of 2]\n{first}\n\n[prompt 2 of 2]\n{second}\n"


def test_a_number_is_of_each_prompt(trained_text: Path) -> None:
    done = typed(f"sample {trained_text} --prompt the --prompt dog -n 2 --length 5")
    assert [line for line in done.out.splitlines() if line.startswith("[")] == [
        "[prompt 1 of 2, text 1 of 2]", "[prompt 1 of 2, text 2 of 2]",
        "[prompt 2 of 2, text 1 of 2]", "[prompt 2 of 2, text 2 of 2]",
    ]  # fmt: skip
    assert typed(f"sample {trained_text} --prompt the --length 5").out.count("the") == 16


def test_prompts_of_a_file_as_json(trained_text: Path, workdir: Path) -> None:
    Path("prompts.txt").write_text(f"dog\n\n{FOX}\r\ndog\n")
    done = typed(f"sample {trained_text} --prompt lazy --prompt-file prompts.txt --length 6 --seed 3 --json")
    found = json.loads(done.out)
    assert found["prompts"] == ["lazy", "dog", FOX, "dog"]
    assert [text[:-6] for text in found["samples"]] == found["prompts"]
    assert json.loads(typed(f"sample {trained_text} -n 1 --json --length 6").out).keys() == {"samples", "output"}


def test_the_likeliest_alone_are_drawn(trained_text: Path) -> None:
    greedy, likeliest, nucleus, all_of_them = (
        typed(f"sample {trained_text} -n 3 --prompt the --length 8 {options}").out
        for options in ("--temperature 0", "--top-k 1", "--top-p 0", "--top-k 999 --top-p 1")
    )
    assert greedy == likeliest == nucleus
    assert all_of_them == typed(f"sample {trained_text} -n 3 --prompt the --length 8").out != greedy


def test_texts_and_tokens_are_written(trained_text: Path, workdir: Path) -> None:
    command = f"sample {trained_text} --prompt the --prompt dog. --length 6"
    assert typed(f"{command} --output t.txt").out == "2 texts -> t.txt\n"
    assert Path("t.txt").read_text() == typed(command).out
    assert typed(f"{command} --output t.npy").code == 0
    assert np.load("t.npy").shape == (2, 4 + 6)


MISTAKES = {
    "--prompt 'the ÄX'": "--prompt: the model's text had no 'X', 'Ä'",
    "--prompt-file none.txt": "none.txt: no such file",
    "--prompt-file empty.txt": "--prompt-file: empty.txt holds no prompts",
    "--prompt-file wrong.txt": "wrong.txt, line 2: the model's text had no 'É'",
    "--prompt-file latin.txt": "latin.txt: is not utf-8: unexpected end of data at byte 0\n  save it as UTF-8",
    "--prompt a --prompt b -n 60000": "--number: 60,000 of each of 2 prompts are more than 100,000 texts",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_a_mistake_is_answered_with_one_message(options: str, trained_text: Path, workdir: Path) -> None:
    Path("empty.txt").write_text("\n")
    Path("wrong.txt").write_text("the\nÉ\n")
    Path("latin.txt").write_bytes(b"\xe9")
    done = typed(f"sample {trained_text} {options}")
    assert (done.code, done.out, done.err) == (2, "", f"error: {MISTAKES[options]}\n")


@pytest.mark.parametrize("option", ["--top-k=3", "--top-p=0.5", "--prompt-file=p.txt"])
def test_a_picture_has_no_prompts(option: str, trained_vae: Path) -> None:
    refused = typed(f"sample {trained_vae} {option}")
    assert (refused.code, refused.err) == (2, f"error: {option.split('=')[0]}: this model makes images\n")
