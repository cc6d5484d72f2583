"""What every test runs under: eight simulated devices on the CPU, a cache of its own, and tiny runs to look at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny import quick_compiling, quick_flags

jax.config.update("jax_num_cpu_devices", 8)
jax.devices()  # what XLA_FLAGS says from here on counts for processes that a test starts
OPTIMIZED = {"test_families", "test_host_memory"}
"""Modules whose programs are compiled as a user's are; elsewhere compiling is most of what their tests take."""
UNDRAWN = {"test_equalities", "test_members", "test_meshes"}
"""Modules of many runs, of which nobody looks at the curves."""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the compilation cache of the person who runs it; processes of one test run share one."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGTRAIN_CACHE", str(shared / "cache"))
        patch.delenv("BIGTRAIN_DEBUG", raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both sides of an equality are compiled alike, also where one is a process of its own."""
    quick = request.path.stem not in OPTIMIZED
    with pytest.MonkeyPatch.context() as patch, quick_compiling() if quick else contextlib.nullcontext():
        if quick:
            patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
            patch.setenv("XLA_FLAGS", quick_flags())
        yield


@pytest.fixture(scope="module", autouse=True)
def _draw_no_curves(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem in UNDRAWN:
            patch.setattr("bigtrain.run.pictures.curves", lambda path, lines: False)
        yield


@pytest.fixture(autouse=True)
def _same_numbers(request: pytest.FixtureRequest) -> None:
    """A test draws what it draws alone from the generator of its module, whatever ran before it."""
    if isinstance(generator := getattr(request.module, "RANDOM", None), np.random.Generator):
        generator.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def _trained(folder: Path, *overrides: str) -> Path:
    from command import bigtrain

    done = bigtrain("fit", "steps=3", "batch_size=16", "logger=jsonl", f"run_dir={folder}", *overrides)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps: an MLP on the digits. Not to be written to."""
    return _trained(tmp_path_factory.mktemp("runs") / "mlp", "model.widths=[8]")


@pytest.fixture(scope="session")
def trained_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE on the digits, after three steps."""
    return _trained(tmp_path_factory.mktemp("runs") / "vae", "model=vae", "model.widths=[8]", "model.latent=2")


@pytest.fixture(scope="session")
def trained_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A character model, after three steps."""
    text = tmp_path_factory.mktemp("text") / "abc.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    small = ("model=rnn", "model.width=8", "data=text", f"data.path={text}", "data.length=8")
    return _trained(tmp_path_factory.mktemp("runs") / "text", *small)


def pytest_configure() -> None:
    """A test that starts a process gives it these devices too."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
