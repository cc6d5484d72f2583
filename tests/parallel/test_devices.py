"""What JAX's own settings may say: a run that can't have them says so, and what changes its bits is told."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from command import typed

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import ConfigError, jax_setting
from bigtrain.parallel.devices import all_devices, settings

TIMED = ("examples_per_second", "tokens_per_second", "time")
FIT = "fit steps=4 log_every=1 eval_every=2 checkpoint.every=2 batch_size=16 logger=jsonl run_dir=r"

REFUSED: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "JAX_DISABLE_JIT": jax.disable_jit,
    "JAX_ENABLE_X64": lambda: jax.enable_x64(True),
    "JAX_NUMPY_RANK_PROMOTION": lambda: jax.numpy_rank_promotion("raise"),
    "JAX_NUMPY_DTYPE_PROMOTION": lambda: jax.numpy_dtype_promotion("strict"),
    "JAX_TRANSFER_GUARD": lambda: jax.transfer_guard("disallow"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_run_cannot_have_is_refused_by_the_name_of_its_variable(name: str, workdir: Path) -> None:
    assert all_devices() == jax.devices()
    with REFUSED[name]():
        with pytest.raises(ConfigError, match=f"^{name}: ") as raised:
            all_devices()
        done = typed(FIT)
    assert raised.value.hint == f"unset {name}"
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {str(raised.value).splitlines()[0]}")
    assert not (workdir / "r").exists()


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("JAX_PLATFORMS", "nonsense", "error: JAX_PLATFORMS: 'nonsense': JAX finds no device: Unable to initialize"),
        ("JAX_NUM_CPU_DEVICES", "many", 'error: JAX_NUM_CPU_DEVICES: JAX takes no "many" for it'),
        ("JAX_ENABLE_X64", "maybe", "error: JAX_ENABLE_X64: JAX takes no 'maybe' for it"),
    ],
)
def test_a_wrong_variable_of_the_environment_is_one_message(name: str, value: str, answer: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bigtrain", *FIT.split()]
    done = subprocess.run(command, env={**os.environ, name: value}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(answer), done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "r").exists()


def test_other_errors_are_no_settings() -> None:
    assert jax_setting(ValueError("Invalid value for an axis")) is None
    assert jax_setting(TypeError("Invalid value 3 for JAX flag jax_x")) is None


def test_a_run_that_goes_on_with_other_random_numbers_says_so(workdir: Path) -> None:
    assert typed(FIT).code == 0
    again = typed("fit run_dir=r steps=6")
    assert again.code == 0
    assert "not as it was" not in again.err
    with jax.threefry_partitionable(False):
        other = typed("fit run_dir=r steps=8")
    assert other.code == 0
    changed = "note: not as it was up to step 6: jax_threefry_partitionable True → False; the bits may differ"
    assert changed in other.err
    kept = json.loads((workdir / "r" / "environment.json").read_text())["settings"]
    assert kept == {**settings(), "jax_threefry_partitionable": False}
    assert kept != settings()


def test_a_run_that_goes_on_over_another_mesh_says_so(workdir: Path) -> None:
    assert typed(FIT).code == 0
    told = typed("fit run_dir=r steps=6 mesh=data mesh.data=2 mesh.simulate=8").err
    assert "note: not as it was up to step 4: mesh of one → data=2; the bits may differ" in told


PREPARED = """
import sys
import jax
from bigtrain.cli.fit import understood
from bigtrain.data.load import load_data
from bigtrain.train.prepare import prepare
_, checked, trusted = understood(sys.argv[1:], None, [])
prepare(checked, trusted, load_data(checked, trusted))
many = jax.numpy.ones((1500, 1500))
product = jax.jit(lambda: many @ many).lower().compile()
print("computing" if not product().is_ready() else "done")
"""
TEXT = "model=transformer model.width=8 model.layers=1 model.heads=1 data=text data.length=8 batch_size=2"


@pytest.mark.parametrize(
    ("given", "environment", "returned"),
    [
        ("model.widths=[4]", {}, "computing"),
        (TEXT, {}, "done"),
        (TEXT, {"JAX_CPU_ENABLE_ASYNC_DISPATCH": "true"}, "computing"),
        (f"{TEXT} mesh=data mesh.simulate=2", {}, "computing"),
    ],
    ids=["pictures", "text", "as the user says", "several devices"],
)
def test_the_calling_thread_computes_where_each_token_is_scored(
    given: str, environment: dict[str, str], returned: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PREPARED, *given.split(), "run_dir=r"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == returned


def test_which_thread_computes_changes_no_bit(tmp_path: Path) -> None:
    for name, beside in (("calling", "false"), ("other", "true")):
        command = [sys.executable, "-m", "bigtrain", *FIT.split()[:-1], *TEXT.split(), f"run_dir={name}"]
        environment = {**os.environ, "JAX_CPU_ENABLE_ASYNC_DISPATCH": beside}
        subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True)
    states = [Checkpoints(tmp_path / name / "checkpoints").meta(4)["state"] for name in ("calling", "other")]
    assert states[0] == states[1]
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("calling", "other")]
    told = [[{k: v for k, v in json.loads(line).items() if not k.startswith(TIMED)} for line in kept] for kept in lines]
    assert told[0] == told[1]
    assert len(told[0]) == 6
