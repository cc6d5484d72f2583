"""Data, files and runs that can't be used: one message that says why, its exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Outcome, bigtrain, files, typed
from support import write_idx

ROOT = Path(__file__).parent.parent.parent

BERNOULLI = """\
model.likelihood: bernoulli needs inputs within [0, 1], and those of data 'wide' lie within [-3, 5]
  set model.likelihood=gaussian
"""
FIT = {
    "data=npz": """\
data.path: no file is given
  allowed: an .npz, an .npy, a folder of .npy
  for example: bigtrain fit data=npz data.path=mine.npz
""",
    "data=npz data.path=nowhere.npz": """\
nowhere.npz: no such file or folder
  data.path names an .npz, an .npy or a folder of .npy
""",
    "data=idx": """\
data.dir: no folder is given
  allowed: a folder with IDX files
  for example: bigtrain fit data=idx data.dir=~/mnist
""",
    "data=idx data.dir=nowhere": """\
nowhere: no such folder
  data.dir names the folder that holds the IDX files
""",
    "data=idx data.dir=idx": """\
idx/train-images-idx3-ubyte: is truncated: expected 1456 bytes, got 1400
  the download or copy was cut short: fetch it again
""",
    "data=npz data.path=objects.npz": """\
objects.npz: 'inputs' holds pickled Python objects, which are never loaded
  save plain arrays: numpy.stack(inputs) if the rows are equally long, else pad them and add lengths
""",
    "data=npz data.path=negative.npz": """\
negative.npz: label -1 of 'targets' at index 0 is negative; classes count from 0
  for regression set data.target_kind=real; for more classes than the labels show, data.classes=NUMBER
""",
    "data=npz data.path=few.npz": """\
batch_size: 64 is larger than the training set of 32 examples
  allowed: 1 to 32
""",
    "data=npz data.path=nan.npz": """\
nan.npz: 'inputs' holds 1 example that is not finite in float32; the first has index 3
  remove these examples or replace their NaN and infinite values
""",
    "data=npz data.path=wide.npz model=vae batch_size=8": BERNOULLI,
    "data=npz data.path=few.npz data.inputs=other": """\
data.inputs: 'other' is not in few.npz
  allowed: inputs, targets
""",
    "data=text model=mlp": """\
model: MLP gives one answer an example, and data 'text' has tokens of shape [64]
  model=rnn gives one at each step
""",
    "data=npz data.path=bare.npz task=classification batch_size=8": """\
model: MLP needs targets, and data 'bare' has none
  train model=vae on it, or name the labels (data.targets=…)
""",
    "task=regression": """\
task: Regression needs real targets, and data 'digits' has class labels
  task=auto chooses from the model and the data
""",
    "task=elbo": """\
task: ELBO needs a model trained on the elbo
  use model=vae, or task=auto
""",
    "task=language_modeling": """\
task: LanguageModeling needs tokens as inputs, and data 'digits' has real values
  for integer inputs set data.kind=tokens; for a class at each step data.target_kind=label
""",
    "model=vae task=classification": """\
task: Classification can't train a model whose objective is the elbo
  use task=auto
""",
    "mesh.data=16": """\
mesh.data: 16 devices are asked for, 8 found
  to try it on a CPU, simulate them: mesh.simulate=16
""",
    "mesh.data=3": """\
batch_size: 64 does not divide over 3 devices
  allowed: multiples of 3, such as 63 or 66
""",
    "mesh.rules.btch=data": """\
mesh.rules.btch: no array has such a dimension
  allowed: batch, features, hidden
  did you mean 'batch'?
""",
    "mesh.rules.batch=dat": """\
mesh.rules.batch: no mesh has an axis 'dat'
  allowed: data, fsdp, sequence, tensor
  did you mean 'data'?
""",
    "freeze=[hiden*]": """\
freeze: 'hiden*' matches no parameter
  allowed: hidden.0.bias, hidden.0.kernel, hidden.1.bias, hidden.1.kernel, output.bias, output.kernel
  did you mean 'hidden*'?
""",
    "model._target_=flax.io.rmtree +model.path=keep ~model.widths ~model.dropout": """\
model._target_: 'flax.io.rmtree' -> an unnamed type can't be used here
  allowed: a flax.nnx.Module, or a function -> Module
""",
    "model._target_=bigtrain.tasks.elbo.ELBO ~model.widths ~model.dropout": """\
model._target_: 'bigtrain.tasks.elbo.ELBO' can't be used here
  allowed: a flax.nnx.Module, or a function -> Module
""",
    "run_dir=keep": """\
run_dir: 'keep' is not empty and holds no bigtrain run
  choose another run_dir, or empty this one
""",
    "run_dir=keep/it": """\
run_dir: can't write to 'keep/it': '{here}/keep/it' is a file
  choose another folder: run_dir=…
""",
    "run_dir=keep/it/below": """\
run_dir: can't write to 'keep/it/below': '{here}/keep/it' is a file
  choose another folder: run_dir=…
""",
}


def assert_refused(done: Outcome, message: str) -> None:
    assert done.err == f"error: {message}"
    assert (done.code, done.out) == (2, "")


@pytest.fixture
def broken(workdir: Path) -> Path:
    """A working directory with data that can't be used, and a folder that must stay as it is."""
    inputs, targets = np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 3
    objects = np.array([{} for _ in targets], object)
    holed, wide = inputs.copy(), inputs.copy()
    holed[3, 1] = np.nan
    wide[:2] = [[-3], [5]]
    np.savez("few.npz", inputs=inputs, targets=targets)
    np.savez("bare.npz", inputs=inputs)
    np.savez("negative.npz", inputs=inputs, targets=targets - 1)
    np.savez("objects.npz", inputs=objects, targets=targets)
    np.savez("nan.npz", inputs=holed, targets=targets)
    np.savez("wide.npz", inputs=wide, targets=targets)
    images = write_idx(workdir / "idx") / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1400])
    (workdir / "keep").mkdir()
    (workdir / "keep" / "it").write_text("mine")
    return workdir


@pytest.mark.parametrize("overrides", list(FIT))
def test_fit_refuses(overrides: str, broken: Path) -> None:
    before = files(broken)
    assert_refused(typed(f"fit steps=3 {overrides}"), FIT[overrides].format(here=broken))
    assert files(broken) == before


def test_a_folder_that_cannot_be_written(workdir: Path) -> None:
    """Root may write anywhere but where the kernel says no."""
    done = typed("fit steps=3 run_dir=/proc/nowhere/run")
    assert done.code == 2
    assert done.err.endswith("  choose another folder: run_dir=…\n")
    assert "error: run_dir: can't write to '/proc/nowhere/run': " in done.err
    assert not files(workdir)


def test_a_run_of_another_config(trained: Path) -> None:
    before = files(trained)
    done = bigtrain("fit", "steps=6", "batch_size=32", "model.widths=[8]", f"run_dir={trained}", "optimizer=sgd")
    assert done.code == 2
    assert done.err.startswith(f"error: run_dir: {str(trained)!r} belongs to another config\n")
    assert "  batch_size: 16 there, 32 here\n" in done.err
    assert "  optimizer._target_: 'optax.adam' there, 'optax.sgd' here\n" in done.err
    assert done.err.endswith("  to continue it, drop those keys; to train this, choose another run_dir\n")
    assert files(trained) == before


def test_diverged_is_exit_code_1(workdir: Path) -> None:
    done = typed(
        "fit steps=5 run_dir=r optimizer=sgd optimizer.learning_rate=1e30 eval_every=5 log_every=1 logger=jsonl"
    )
    assert done.code == 1
    last = done.err.rsplit("error: ", 1)[1]
    assert last.startswith("training diverged: the loss of step ")
    assert "try a smaller optimizer.learning_rate" in last
    assert "Traceback" not in done.err


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run on a disk with room for its config and not for its checkpoint, in a process of its own."""
    disk = tmp_path_factory.mktemp("disk")
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    except OSError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip("mounting a small disk isn't permitted here")
    command = [sys.executable, "-m", "bigtrain", "fit", "steps=3", "logger=jsonl", "run_dir=run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, cwd=disk, env=environment, capture_output=True, text=True, timeout=200)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_out_of_memory_is_exit_code_1(workdir: Path) -> None:
    done = typed("fit steps=3 run_dir=r logger=jsonl model.widths=[1000000000000] plan.check=off")
    assert done.code == 1
    assert done.err.endswith(
        "error: out of memory; what was saved is intact\n"
        "  a step needs 900,000.00 GB for the training state and 808,000.00 GB beside it, on each device\n"
        "  the largest module is hidden.0.kernel: 256,000.00 GB of the 300,000.00 GB of parameters\n"
        "  try a smaller model, or split it over devices: mesh=fsdp (bigtrain plan says what fits)\n"
    )


def test_a_full_disk_is_exit_code_1(full_disk: Outcome) -> None:
    assert full_disk.code == 1
    last = "error: run/checkpoints: could not save: the disk is full; earlier checkpoints are intact\n"
    assert full_disk.err.endswith(last)


def test_a_full_disk_shows_no_traceback(full_disk: Outcome) -> None:
    assert "Traceback" not in full_disk.err


def test_a_full_disk_before_the_start(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        done = typed("fit steps=3 run_dir=r logger=jsonl")
    assert done.code == 2
    assert done.err.endswith(
        "error: run_dir: can't write to 'r': No space left on device\n  choose another folder: run_dir=…\n"
    )


def _copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder))


SCORED = {
    "evaluate {run} --split nonsense": """\
--split: there is no split 'nonsense'
  allowed: train, validation, test
""",
    "evaluate {run} --checkpoint 7": """\
--checkpoint: there is no '7'
  allowed: last, best, 3
""",
    "evaluate {run} --checkpoint first": """\
--checkpoint: there is no 'first'
  allowed: last, best, 3
""",
    "evaluate {run} model.widths=[3]": """\
model.widths: can't be changed for a trained model
  allowed: data.FIELD=…, mesh.FIELD=…, eval_batch_size=…
""",
    "evaluate {run} data=npz": """\
data: can't be changed for a trained model
  allowed: data.FIELD=…, mesh.FIELD=…, eval_batch_size=…
""",
    "evaluate {run} data.x": """\
'data.x' is no key=value
  allowed: key=value, e.g. eval_batch_size=64 data.path=new.npz
""",
    "evaluate {run} data.x=[1": """\
data.x: the value '[1' can't be read
  a list is 'data.x=[1,2]'; text with special characters is data.x='"…"'
""",
    "evaluate {run} eval_batch_size=0": """\
eval_batch_size: 0 is not allowed
  allowed: an integer at least 1 or auto
""",
    "evaluate {run} mesh.data=16": """\
mesh.data: 16 devices are asked for, 8 found
  to try it on a CPU, simulate them: mesh.simulate=16
""",
    "predict {run} --input nowhere.npy --output o.npz": """\
nowhere.npy: there is no such file
""",
    "predict {run} --input shape.npy --output o.npz": """\
shape.npy: has the shape [4, 5], and the model reads Nx8x8
""",
    "predict {run} --input nan.npy --output o.npz": """\
nan.npy: inputs has values that are not finite; the first such example has index 1
""",
    "predict {run} --input wide.npy --output o.npz": """\
wide.npy: values within [0, 200], and the model was trained on [0, 1]; the first such example has index 0
  give uint8 as in training, or floats scaled to that range
""",
    "predict {run} --input objects.npy --output o.npz": """\
objects.npy: holds pickled Python objects, which are never loaded
  save plain arrays of numbers with numpy.save
""",
    "predict {run} --input words.npy --output o.npz": """\
words.npy: inputs holds <U3, not numbers
""",
    "predict {run} --input empty.npy --output o.npz": """\
empty.npy: is empty
""",
    "predict {run} --input file --output o.npz": """\
file: can't read a file without a suffix
  it reads .npy .npz .csv .txt .png .jpg .jpeg .bmp .gif .webp .tif .tiff .ppm .pgm\
 .wav .wave .tsv .tab .jsonl .ndjson .data .dat .gz .parquet .pq .ts
""",
    "predict {run} --input fine.npy --output o.foo": """\
o.foo: can't write .foo
  it writes .npz .npy .csv .jsonl
""",
    "predict {run} --input fine.npy --output nowhere/o.npz": """\
nowhere/o.npz: there is no folder {here}/nowhere
""",
    "sample {run}": """\
{run} was trained for Classification, which makes no samples
  bigtrain predict applies it to inputs
""",
    "sample {run} --output nowhere/o.png": """\
--output: there is no folder {here}/nowhere
""",
}


@pytest.fixture
def inputs(workdir: Path) -> Path:
    """Files to predict for."""
    fine = np.zeros((4, 8, 8), np.float32)
    holed = fine.copy()
    holed[1, 1] = np.nan
    np.save("fine.npy", fine)
    np.save("nan.npy", holed)
    np.save("wide.npy", fine + np.linspace(0, 200, 8, dtype=np.float32))
    np.save("shape.npy", np.zeros((4, 5), np.float32))
    np.save("objects.npy", np.array([{}, {}], object))
    np.save("words.npy", np.full((4, 8, 8), "abc"))
    Path("empty.npy").write_bytes(b"")
    Path("file").write_text("x")
    return workdir


@pytest.mark.parametrize("command", list(SCORED))
def test_a_trained_model_refuses(command: str, trained: Path, inputs: Path) -> None:
    before, run_before = files(inputs), files(trained)
    assert_refused(typed(command.format(run=trained)), SCORED[command].format(run=trained, here=inputs))
    assert (files(inputs), files(trained)) == (before, run_before)


VERBS = ["evaluate {run}", "predict {run} --input fine.npy --output o.npz", "sample {run}"]


@pytest.mark.parametrize("command", VERBS)
def test_no_checkpoint(command: str, trained: Path, inputs: Path) -> None:
    run = _copied(trained, inputs / "run")
    shutil.rmtree(run / "checkpoints")
    done = typed(command.format(run="run"))
    assert_refused(done, "run has no checkpoint yet\n  train it first: bigtrain fit run_dir=run\n")


@pytest.mark.parametrize("command", VERBS)
def test_a_run_with_foreign_code(command: str, trained: Path, inputs: Path) -> None:
    run = _copied(trained, inputs / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("bigtrain.models.mlp.MLP", "os.system"))
    refused = "model._target_: 'os.system' may not be built\n  allowed: code of bigtrain, flax, optax\n"
    assert_refused(typed(command.format(run="run")), refused)


@pytest.mark.parametrize("command", VERBS)
def test_a_run_that_would_delete_files(command: str, trained: Path, inputs: Path) -> None:
    """Flax is trusted, and has functions that a model is not."""
    run = _copied(trained, inputs / "run")
    text = (run / "config.yaml").read_text()
    (inputs / "precious").mkdir()
    evil = "_target_: flax.io.rmtree\n  path: precious\n"
    config = text.replace("_target_: bigtrain.models.mlp.MLP\n  widths:\n  - 8\n  dropout: 0.0\n", evil)
    assert config != text
    (run / "config.yaml").write_text(config)
    done = typed(command.format(run="run"))
    assert done.code == 2
    assert done.err.startswith("error: model._target_: 'flax.io.rmtree' -> an unnamed type can't be used here\n")
    assert (inputs / "precious").is_dir()


@pytest.mark.parametrize("command", VERBS)
def test_a_run_that_asks_for_the_environment(command: str, trained: Path, inputs: Path) -> None:
    run = _copied(trained, inputs / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("precision: f32", "precision: ${oc.env:HOME}"))
    assert_refused(
        typed(command.format(run="run")), "precision: '${oc.env:HOME}' is not expanded when a run is loaded\n"
    )


def test_plugins_of_a_run_are_not_honoured(trained: Path, workdir: Path) -> None:
    """Neither for evaluation nor for continuation: which code may run is decided at the keyboard."""
    (workdir / "evilpkg.py").write_text("open('ran', 'w').close()\ndef Net(): pass\n")
    run = _copied(trained, workdir / "run")
    text = (run / "config.yaml").read_text().replace("bigtrain.models.mlp.MLP", "evilpkg.Net")
    (run / "config.yaml").write_text(text.replace("plugins: []", "plugins: [evilpkg]"))
    allowed = "  allowed: code of bigtrain, flax, optax\n  if the code is yours, add --trust evilpkg\n"
    assert_refused(typed("evaluate run"), f"model._target_: 'evilpkg.Net' may not be built\n{allowed}")
    overrides = json.loads((run / "overrides.json").read_text())
    (run / "overrides.json").write_text(json.dumps([*overrides, "plugins=[evilpkg]", "model._target_=evilpkg.Net"]))
    assert_refused(typed("fit run_dir=run steps=6"), f"model._target_: 'evilpkg.Net' may not be built\n{allowed}")
    assert not (workdir / "ran").exists()


@pytest.mark.parametrize("name", ["config.yaml", "spec.json"])
def test_damaged_files_of_a_run(name: str, trained: Path, inputs: Path) -> None:
    run = _copied(trained, inputs / "run")
    (run / name).write_text("{ [")
    done = typed("predict run --input fine.npy --output o.npz")
    assert done.code == 2
    assert done.err.startswith(f"error: run/{name}: can't be read: ")
    assert not (inputs / "o.npz").exists()
