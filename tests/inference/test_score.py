"""Scores on data that is stored or numbered otherwise than the run's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import typed

from bigtrain.checkpoint import manifest

ROOT = Path(__file__).parent.parent.parent


def scores(run: str, data: str) -> dict[str, float]:
    done = typed(f"evaluate {run} data.path={data} --split train --json")
    assert done.code == 0, done.err
    return {name: json.loads(done.out)[name] for name in ("loss", "accuracy")}


@pytest.fixture
def images(workdir: Path) -> dict[str, np.ndarray]:
    """A run on bytes with named classes, and what it was trained on."""
    rng = np.random.default_rng(0)
    names = np.array(["cat", "dog"])[rng.integers(0, 2, 40)]
    arrays = {"inputs": rng.integers(0, 256, (40, 4, 4), np.uint8), "targets": names}
    np.savez("bytes.npz", **arrays)
    fit = "fit steps=9 batch_size=8 logger=jsonl model.widths=[4] data=npz data.path=bytes.npz run_dir=r"
    assert typed(f"{fit} data.validation=0 data.test=0").code == 0
    return arrays


def test_other_storage_has_the_same_score(images: dict[str, np.ndarray]) -> None:
    np.savez("floats.npz", inputs=images["inputs"] / np.float32(255), targets=images["targets"])
    expected = scores("r", "bytes.npz")
    assert scores("r", "floats.npz") == pytest.approx(expected, rel=1e-5)


def test_classes_go_by_their_names(images: dict[str, np.ndarray]) -> None:
    dogs = images["targets"] == "dog"
    np.savez("dogs.npz", inputs=images["inputs"][dogs], targets=images["targets"][dogs])  # here dog is class 0
    np.savez("cats.npz", inputs=images["inputs"][~dogs], targets=images["targets"][~dogs])
    parts = [scores("r", "dogs.npz")["loss"] * dogs.sum(), scores("r", "cats.npz")["loss"] * (~dogs).sum()]
    assert sum(parts) / 40 == pytest.approx(scores("r", "bytes.npz")["loss"], rel=1e-5)
    np.savez("cows.npz", inputs=images["inputs"], targets=np.where(dogs, "cow", "cat"))
    refused = typed("evaluate r data.path=cows.npz --split train")
    assert (refused.code, refused.err) == (
        2,
        "error: data: the model knows no class 'cow'\n  allowed: 'cat', 'dog'\n",
    )


def test_symbols_go_by_what_they_are(trained_text: Path, workdir: Path) -> None:
    Path("some.txt").write_text("fox dog " * 100)  # fewer characters, so other numbers
    Path("all.txt").write_text("fox dog " * 100 + " the quick brown jumps over lazy.")
    options = "data.validation=0 data.test=0 --split train --json"
    some = json.loads(typed(f"evaluate {trained_text} data.path=some.txt {options}").out)
    every = json.loads(typed(f"evaluate {trained_text} data.path=all.txt data.stride=8 {options}").out)
    assert some["loss"] == pytest.approx(every["loss"], abs=0.1)
    Path("more.txt").write_text("FOX dog " * 100)
    refused = typed(f"evaluate {trained_text} data.path=more.txt")
    assert refused.err.startswith("error: data: the model knows no symbol 'F', 'O', 'X'\n  allowed: ' ', '.', 'a'")


def test_a_simulated_mesh_in_a_process_of_its_own(trained: Path) -> None:
    command = [sys.executable, "-m", "bigtrain", "evaluate", str(trained), "mesh.simulate=2", "mesh.data=2", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    alone = json.loads(typed(f"evaluate {trained} --json").out)
    assert json.loads(done.stdout)["loss"] == pytest.approx(alone["loss"], rel=1e-5)


@pytest.fixture
def split(workdir: Path) -> Path:
    """A run whose parameters two devices share."""
    fit = "fit steps=2 batch_size=16 logger=jsonl model.widths=[32] mesh=fsdp mesh.fsdp=2 run_dir=r"
    done = typed(fit)
    assert done.code == 0, done.err
    return workdir / "r"


def test_a_run_with_split_parameters_is_evaluated_on_its_mesh_and_on_others(split: Path) -> None:
    alone = json.loads((split / "result.json").read_text())["test"]["loss"]
    for more in ("", "mesh.fsdp=8", "mesh.fsdp=4 mesh.data=2"):
        done = typed(f"evaluate r --json {more}")
        assert (done.code, done.err) == (0, ""), more
        assert json.loads(done.out)["loss"] == pytest.approx(alone, rel=1e-5), more


def test_a_mesh_of_more_devices_than_there_are(split: Path) -> None:
    before = json.loads(typed("evaluate r --json").out)
    config = split / "config.yaml"
    text = config.read_text()
    assert text.count("\n  fsdp: 2\n") == 1
    config.write_text(text.replace("\n  fsdp: 2\n", "\n  fsdp: 16\n"))
    done = typed("evaluate r --json")
    assert done.code == 0, done.err
    assert done.err == "note: mesh.fsdp: 16 devices are asked for, 8 found; evaluated on 8 devices of this machine\n"
    assert json.loads(done.out)["loss"] == pytest.approx(before["loss"], rel=1e-5)
    refused = typed("evaluate r mesh.fsdp=32")
    assert (refused.code, refused.err.splitlines()[0]) == (2, "error: mesh.fsdp: 32 devices are asked for, 8 found")


def test_best_without_a_score(trained: Path, workdir: Path) -> None:
    run = Path(shutil.copytree(trained, workdir / "run"))
    for folder in (run / "checkpoints").iterdir():
        meta = folder / "meta.json"
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "scores": None}))
        manifest.write(folder, int(folder.name))
    refused = typed("evaluate run --checkpoint best")
    assert refused.err == "error: --checkpoint: no checkpoint has a validation score\n  use last\n"


def test_answers_come_before_jax(trained: Path, workdir: Path) -> None:
    """All in one process, since this one has JAX already."""
    np.save("x.npy", np.zeros((1, 8, 8)))
    lines = [
        f"evaluate {trained} --checkpoint 9",
        f"evaluate {trained} model.widths=[1]",
        f"predict {trained} --input nowhere.npy --output o.npz",
        f"predict {trained} --input x.npy --output o.foo",
        f"predict {trained} --input x.npy --output o.npz --checkpoint 9",
        f"sample {trained} --output o.jpg",
        f"sample {trained} --checkpoint 9",
    ]
    script = (
        "import sys\nfrom bigtrain.cli import main\n"
        f"for line in {lines!r}:\n"
        "    sys.argv[1:] = line.split()\n"
        "    assert main() == 2, line\n"
        "    assert 'jax' not in sys.modules, line\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
