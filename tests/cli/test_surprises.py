"""What goes wrong in code that isn't bigtrain's is told with its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import typed

from bigtrain.cli.report import scores
from bigtrain.run.directory import RunDirectory

MODEL = '''
from __future__ import annotations

import jax
from flax import nnx

from bigtrain.data.spec import Spec


class Broken(nnx.Module):
    """A line that fails."""

    def __init__(self, *, spec: Spec, rngs: nnx.Rngs) -> None:
        """Makes it."""
        self.layer = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Fails."""
        return self.nothing(inputs)
'''


def test_an_error_in_a_users_own_model_names_its_line(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "theirs").mkdir()
    (workdir / "theirs/__init__.py").touch()
    (workdir / "theirs/broken.py").write_text(MODEL)
    (workdir / "conf/model").mkdir(parents=True)
    (workdir / "conf/model/broken.yaml").write_text("_target_: theirs.broken.Broken\n")
    monkeypatch.syspath_prepend(workdir)
    done = typed("fit --config-dir conf --trust theirs model=broken steps=3 run_dir=r")
    line = MODEL.splitlines().index("        return self.nothing(inputs)") + 1
    assert done.code == 1
    assert done.err.startswith(f"error: theirs/broken.py:{line} in __call__: AttributeError: 'Broken' object has no"), (
        done.err
    )
    assert "bug in bigtrain" not in done.err
    assert not (workdir / "r").exists()


def test_a_run_with_a_config_folder_of_its_own_says_that_it_needs_it(workdir: Path) -> None:
    (workdir / "conf/model").mkdir(parents=True)
    (workdir / "conf/model/own.yaml").write_text("_target_: bigtrain.models.mlp.MLP\nwidths: [8]\n")
    assert typed("fit --config-dir conf model=own steps=2 run_dir=r logger=[jsonl]").code == 0
    done = typed("fit run_dir=r steps=4")
    told = "error: model: there is no model 'own'\n  add --config-dir FOLDER, the one that the run was begun with\n"
    assert (done.code, done.err) == (2, told)
    assert typed("fit --config-dir conf run_dir=r steps=4").code == 0
    assert typed("fit run_dir=r model=nothing").err.startswith("error: model: there is no model 'nothing'\n  allowed: ")


def test_rows_are_sampled_as_rows(workdir: Path) -> None:
    np.savez(workdir / "d.npz", x_train=np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    vae = "model=vae model.likelihood=gaussian model.widths=[4] model.latent=2"
    data = "data=npz data.path=d.npz data.validation=0.2 data.test=0.2 batch_size=8 logger=[jsonl]"
    assert typed(f"fit {vae} {data} steps=2 run_dir=r").code == 0
    assert typed("sample r --number 3").code == 0
    header, *rows = (workdir / "r/samples/sample-3-seed0.csv").read_text().splitlines()
    assert header == "inputs_0,inputs_1,inputs_2,inputs_3,inputs_4"
    assert typed("sample r --number 3 --output s.npy").code == 0
    np.testing.assert_array_equal(np.array([row.split(",") for row in rows], np.float32), np.load(workdir / "s.npy"))
    wrong = typed("sample r --output s.txt")
    assert (wrong.code, wrong.err) == (2, "error: --output: rows are written as .csv or .npy or .png, not .txt\n")


@pytest.mark.parametrize("key", ["optimizer.learning_rate", "clip_norm", "watchdog", "early_stopping.min_delta"])
def test_no_number_is_infinite(key: str, workdir: Path) -> None:
    done = typed(f"fit {key}=inf")
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {key}: inf is not allowed")


def test_a_text_that_is_too_long_for_a_model_is_refused(workdir: Path) -> None:
    (workdir / "t.txt").write_text("the quick brown fox " * 40)
    small = (
        "model.width=8 model.heads=2 model.layers=1 model.positions=learned data.length=8 batch_size=4 logger=[jsonl]"
    )
    assert typed(f"fit model=transformer data=text data.path=t.txt steps=2 run_dir=r {small}").code == 0
    done = typed("predict r --input t.txt --output o.csv")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: 800 steps are more than the 8 whose positions were learned",
    )
    assert not (workdir / "o.csv").exists()


def test_what_is_said_of_a_run_that_stopped_early_makes_it_go_on(workdir: Path) -> None:
    stops = "optimizer=sgd optimizer.learning_rate=1 early_stopping.min_delta=9 early_stopping.patience=1"
    assert typed(f"fit steps=40 eval_every=2 logger=[jsonl] run_dir=r {stops}").code == 0
    for more in ("steps=60", "steps=61"):
        assert typed(f"fit run_dir=r {more}").code == 0
    said = typed("fit run_dir=r").err
    before = RunDirectory(workdir / "r").saved()[-1]
    advice = said.split("bigtrain ")[1].split("\n")[0]
    assert "early_stopping.patience=" in advice
    assert typed(advice).code == 0
    assert RunDirectory(workdir / "r").saved()[-1] > before


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0000"),
        (1.35e-6, "1.35e-06"),
        (0.00051, "0.0005"),
        (0.12345, "0.1235"),
        (-3.0, "-3.0000"),
        (2e5, "2e+05"),
    ],
)
def test_small_scores_keep_their_digits(value: float, shown: str) -> None:
    assert scores({"loss": value, "parameters": 2410.0}) == f"loss {shown}  parameters 2,410"


def test_output_that_is_closed_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m bigtrain fit steps=2 logger=[jsonl] run_dir=r >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "r/result.json").is_file()
