"""Predictions from files, in every format that is read and written."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from command import typed
from PIL import Image

from bigtrain.config.errors import harmless
from bigtrain.data.digits import digits
from bigtrain.inference.load import load
from bigtrain.inference.predict import predict

IMAGES = np.asarray(digits().splits["test"][np.arange(6)]["inputs"])


def labels(run: Path, source: str) -> list[int]:
    done = typed(f"predict {run} --input {source} --output o.npz")
    assert done.code == 0, done.err
    return [int(label) for label in np.load("o.npz")["label"]]


def test_formats_that_are_read_agree(trained: Path, workdir: Path) -> None:
    np.save("bytes.npy", IMAGES)
    np.save("scaled.npy", (IMAGES / 16).astype(np.float64))
    np.save("flat.npy", IMAGES.reshape(6, 64))
    np.savez("named.npz", x=IMAGES)
    np.savez("only.npz", anything=IMAGES)
    np.savetxt("plain.csv", IMAGES.reshape(6, 64), delimiter=",", fmt="%d")
    rows = "\n".join(",".join(map(str, row)) for row in IMAGES.reshape(6, 64) / 16)
    Path("header.csv").write_text(",".join(f"p{i}" for i in range(64)) + "\n" + rows)
    expected = labels(trained, "bytes.npy")
    for source in ("flat.npy", "plain.csv", "scaled.npy", "named.npz", "only.npz", "header.csv"):
        assert labels(trained, source) == expected, source


def test_one_picture(trained: Path, workdir: Path) -> None:
    np.save("one.npy", IMAGES[0])
    Image.fromarray(IMAGES[0]).save("one.png")
    assert len(labels(trained, "one.png")) == 1
    assert labels(trained, "one.png") == labels(trained, "one.npy")


def test_formats_that_are_written_agree(trained: Path, workdir: Path) -> None:
    np.save("x.npy", IMAGES)
    expected = labels(trained, "x.npy")
    for suffix in ("npy", "csv", "jsonl"):
        done = typed(f"predict {trained} --input x.npy --output y.{suffix}")
        names = "label" if suffix == "npy" else "label, probability"
        assert done.out == f"6 examples -> y.{suffix}: {names}\n"
    assert np.load("y.npy").tolist() == expected
    with open("y.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == expected
    assert [name for name in rows[0] if name != "label"] == [f"probability_{digit}" for digit in range(10)]
    lines = [json.loads(line) for line in Path("y.jsonl").read_text().splitlines()]
    assert [int(line["label"]) for line in lines] == expected
    assert sum(lines[0]["probability"]) == pytest.approx(1, abs=1e-5)


def test_batches_do_not_matter(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch is padded, and the padding is cut off again."""
    model = load(trained, checkpoint="best")
    whole = predict(model, {"inputs": IMAGES})
    monkeypatch.setattr("bigtrain.inference.predict.BATCH", 4)
    pieces = predict(model, {"inputs": IMAGES})
    assert whole["label"].tolist() == pieces["label"].tolist()
    np.testing.assert_allclose(whole["probability"], pieces["probability"], rtol=1e-5, atol=1e-7)


def test_text_is_read_as_tokens(trained_text: Path, workdir: Path) -> None:
    Path("t.txt").write_text("the quick brown")
    done = typed(f"predict {trained_text} --input t.txt --output y.npz --json")
    assert done.code == 0, done.err
    Path("t.txt").write_text("THE")
    refused = typed(f"predict {trained_text} --input t.txt --output y.npz")
    assert (refused.code, refused.err) == (2, "error: t.txt: the model's text had no 'E', 'H', 'T'\n")


def test_sampling_is_fixed_by_the_seed(trained_vae: Path, trained_text: Path, workdir: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert typed(f"sample {trained_vae} -n 4 --seed {seed} --output {name}.npy").code == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))
    assert not np.array_equal(np.load("a.npy"), np.load("c.npy"))
    first = typed(f"sample {trained_text} -n 1 --length 20 --prompt the --temperature 0").out
    assert first == typed(f"sample {trained_text} -n 1 --length 20 --prompt the --temperature 0 --seed 5").out
    assert first.startswith("the")


def test_sampling_writes_a_picture(trained_vae: Path, workdir: Path) -> None:
    assert typed(f"sample {trained_vae} -n 4 --output p.png").out == "4 samples -> p.png\n"
    with Image.open("p.png") as image:
        assert image.size[0] > 16
    refused = typed(f"sample {trained_vae} --output p.txt")
    assert (refused.code, refused.err) == (2, "error: --output: images are written as .png or .npy, not .txt\n")


def test_a_prompt_of_unknown_characters(trained_text: Path) -> None:
    refused = typed(f"sample {trained_text} --prompt ÄÖ")
    assert (refused.code, refused.err) == (2, "error: --prompt: the model's text had no 'Ä', 'Ö'\n")


def test_a_trained_model_is_what_was_trained(trained: Path) -> None:
    found = load(trained, checkpoint="3")
    assert (found.checkpoint, found.spec.name) == (3, "digits")
    assert sum(leaf.size for leaf in jax.tree.leaves(found.state.params)) == 64 * 8 + 8 + 8 * 10 + 10


def test_an_archive_names_the_classes(trained: Path, workdir: Path) -> None:
    np.save("x.npy", IMAGES)
    done = typed(f"predict {trained} --input x.npy --output y.npz")
    assert done.out == "6 examples -> y.npz: label, probability, classes\n"
    assert np.load("y.npz")["classes"].tolist() == [str(digit) for digit in range(10)]


def test_a_model_needs_no_data(trained_text: Path, workdir: Path) -> None:
    """The path of the data came from the environment, which a run directory may not ask."""
    run = Path(shutil.copytree(trained_text, workdir / "run"))
    text = (run / "config.yaml").read_text()
    path = next(line for line in text.splitlines() if line.startswith("  path: "))
    (run / "config.yaml").write_text(text.replace(path, "  path: ${oc.env:P}"))
    assert typed("sample run -n 1 --length 4").code == 0
    Path("t.txt").write_text("the quick")
    assert typed("predict run --input t.txt --output y.npz").code == 0
    refused = typed("evaluate run")
    problem = "data.path: '${oc.env:P}' is not expanded when a run is loaded"
    assert refused.err == f"error: {problem}\n  give the value: data.path=…\n"


@pytest.mark.parametrize("option", ["--prompt=the", "--prompt=", "--temperature=0.8", "--length=200"])
def test_an_image_has_no_options_of_texts(option: str, trained_vae: Path) -> None:
    refused = typed(f"sample {trained_vae} {option}")
    assert (refused.code, refused.err) == (2, f"error: {option.split('=')[0]}: this model makes images\n")


def test_pictures_of_two_seeds_have_two_names(trained_vae: Path, workdir: Path) -> None:
    run = Path(shutil.copytree(trained_vae, workdir / "run"))
    assert typed("sample run --seed 3").out == "16 samples -> run/samples/sample-16-seed3.png\n"
    assert (run / "samples" / "sample-16-seed3.png").is_file()


def test_texts_are_no_pictures(trained_text: Path, workdir: Path) -> None:
    refused = typed(f"sample {trained_text} --output p.png")
    assert (refused.code, refused.err) == (2, "error: --output: texts are written as .txt or .npy, not .png\n")


def test_a_terminal_gets_no_control_characters() -> None:
    assert harmless("a\n\tb\x1b[2J\x07\r\x9b\x00é") == "a\n\tb\ufffd[2J\ufffd\ufffd\ufffd\ufffdé"
