"""`bigtrain plan` as it is typed: in a process of its own, for this machine, and for hardware that isn't here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command import typed

import bigtrain
from bigtrain.cli.plan import _failed
from bigtrain.cli.plan_worker import unexpected
from bigtrain.config import groups
from bigtrain.data.random_tokens import random_tokens
from bigtrain.plan.published import PUBLISHED, published
from bigtrain.plan.topology import installed

LM = "model=transformer/llama_nano data=random_tokens data.vocabulary=512 data.length=32 batch_size=32"


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan measures the peak of this CPU, and other tests must not find it."""
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "cache"))


NO_WHEELS = pytest.mark.skipif(installed("tpu") or installed("gpu"), reason="the extras plan-tpu or plan-gpu are here")


def test_an_error_without_a_message_of_its_own_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert unexpected(PermissionError(13, "Permission denied", "x.npz")) == {
        "error": "x.npz: Permission denied", "code": 1
    }  # fmt: skip
    found = unexpected(KeyError("what"))
    assert found["code"] == 1
    assert found["error"].startswith(
        "unexpected KeyError: 'what'\n  a bug in bigtrain, or in what it calls; the details"
    )


def test_nothing_of_the_working_directory_is_run(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit('the working directory was trusted')\n")
    command = [sys.executable, "-P", "-m", "bigtrain", "plan", "model.widths=[8]", "--json"]
    environ = {**os.environ, "PYTHONPATH": str(Path(bigtrain.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fits"]


def test_the_cpu() -> None:
    done = typed("plan model.widths=[32] steps=100 plan.price=0.5 --json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["hardware"], found["fits"], found["approximate"]) == ("cpu", True, None)
    assert found["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert found["memory"]["categories"]["process"] > 100e6
    assert found["cost"] > 0


def test_simulated_devices_and_the_page() -> None:
    done = typed(f"plan {LM} mesh=fsdp mesh.simulate=4")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["hardware", "cpu-4;", "mesh", "data=1", "fsdp=4"]
    assert max(map(len, lines)) <= 80
    for word in ("parameters", "activations", "all-gather", "fsdp", "a step", "tokens/s", "the run"):
        assert word in done.out, word


@NO_WHEELS
@pytest.mark.parametrize(
    ("hardware", "extra"),
    [pytest.param("tpu-v5e-8", "plan-tpu", marks=pytest.mark.long), ("gpu-h100-8", "plan-gpu")],
)
def test_without_the_extra_simulated_devices_stand_in(hardware: str, extra: str) -> None:
    done = typed(f"plan {LM} mesh=fsdp hardware={hardware} --json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["devices"] == 8
    assert "memory is approximate" in found["approximate"]
    assert f"pip install 'bigtrain[{extra}]'" in found["approximate"]
    assert found["memory"]["capacity_bytes"] > 10e9


@pytest.mark.parametrize("hardware", ["tpu-v5e-8", "tpu-v6e-1", "gpu-h100-16", "gpu-a100-1"])
def test_hardware_that_is_not_here(hardware: str) -> None:
    if not installed(hardware[:3]):
        pytest.skip(f"needs the extra plan-{hardware[:3]}")
    done = typed(f"plan {LM} mesh=data hardware={hardware} --json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["approximate"] is None
    assert bool(found["collectives"]) == (found["devices"] > 1)


@pytest.mark.long
def test_the_search_prints_a_command() -> None:
    done = typed(f"plan {LM} hardware=cpu-2 --search mesh,remat")
    assert done.code == 0, done.err
    assert "configurations on cpu-2" in done.out
    assert done.out.strip().splitlines()[-1].startswith("bigtrain fit model=transformer/llama_nano")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("plan hardware=tpu-v5f-8", "did you mean 'tpu-v5p-8' or 'tpu-v5e-8'?"),
        ("plan hardware=cpu hardware=h100", "hardware=cpu and hardware=h100 are two"),
        ("plan hardware=h100 mesh.simulate=4", "hardware is named too"),
        ("plan --search model", "'model' can't be searched"),
        ("plan modle=vae", "modle"),
        ("plan batch_size=5 mesh=data mesh.simulate=2", "5 does not divide over 2 devices"),
    ],
)
def test_mistakes(line: str, said: str) -> None:
    done = typed(line)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_fit_does_not_take_hardware() -> None:
    done = typed("fit hardware=h100")
    assert done.code == 2
    assert "bigtrain plan" in done.err


def test_a_process_that_fails_is_told_of_in_one_block() -> None:
    assert "killed, probably for its memory" in str(_failed(-9, []))
    assert str(_failed(1, ["a", "b"])) == "the planning process ended with code 1:\n  a\n  b"


def test_published_models_are_planned_on_text_as_published() -> None:
    typed_, source = published(["model=transformer/llama2_7b", "data.length=2048"])
    assert typed_ == [
        "data=random_tokens", "data.vocabulary=32000", "data.length=4096", "model=transformer/llama2_7b",
        "data.length=2048",
    ]  # fmt: skip
    assert source == "as published for llama2_7b, but for data.length; no data= was given"
    for given in (["model=transformer/llama2_7b", "data=text"], ["model=mlp"], []):
        assert published(given) == (given, None)
    assert set(PUBLISHED) <= {f"{name}" for name in groups.groups(groups.search_dirs())["model"]}


def test_random_tokens_are_the_same_every_time_and_cover_the_vocabulary() -> None:
    import numpy as np

    made = random_tokens(vocabulary=50, length=16, examples=400)
    rows = made.splits["train"][np.arange(400)]
    assert (rows["inputs"][:, 1:] == rows["targets"][:, :-1]).all()
    assert set(rows["inputs"].ravel().tolist()) == set(range(50))
    again = random_tokens(vocabulary=50, length=16, examples=400).splits["train"][np.array([7, 7, 399])]
    assert (again["inputs"] == rows["inputs"][[7, 7, 399]]).all()
    other = random_tokens(vocabulary=50, length=16, examples=400, generator_seed=1).splits["train"][np.arange(400)]
    assert (other["inputs"] != rows["inputs"]).mean() > 0.9
    assert made.spec.sizes == {"train": 400, "validation": 4, "test": 4}
    assert len(random_tokens(vocabulary=128_256, length=8).spec.vocabulary) == 128_256


@pytest.mark.long
def test_two_plans_at_the_same_time() -> None:
    command = [sys.executable, "-m", "bigtrain", "plan", "model.widths=[8]", "--json"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=200)[0]) for process in both]
    assert answers[0]["parameters"] == answers[1]["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
