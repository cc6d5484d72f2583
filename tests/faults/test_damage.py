"""Checkpoints that are damaged on the disk: never used, always named."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from faults.counted import counted
from support import prepared, run_fit

from bigtrain.checkpoint import Checkpoints, Damaged
from bigtrain.config.errors import InputError
from bigtrain.data.arrays import Arrays
from bigtrain.train.resume import begin

RUN = (
    "model.widths=[8]", "batch_size=16", "logger=jsonl", "steps=20", "checkpoint.every=10", "checkpoint.keep=2",
    "checkpoint.best=false", "ema=0.9",
)  # fmt: skip


def flip(path: Path, random: np.random.Generator) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
    path.write_bytes(content)


def truncate(path: Path, random: np.random.Generator) -> None:
    """Some bytes less; sometimes all."""
    content = path.read_bytes()
    path.write_bytes(content[: int(random.integers(len(content)))])


def delete(path: Path, random: np.random.Generator) -> None:
    """No file."""
    path.unlink()


def zero(path: Path, random: np.random.Generator) -> None:
    """A block that was never written, as after a loss of power; of a block of zeros, one bit."""
    content = path.read_bytes()
    at = int(random.integers(len(content)))
    blank = content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :]
    path.write_bytes(blank) if blank != content else flip(path, random)


def exchange(path: Path, random: np.random.Generator) -> None:
    """The file of the same name of the checkpoint before, or one of its bits where that is the same."""
    other = Path(str(path).replace("000000020", "000000010"))
    if other.is_file() and other.read_bytes() != path.read_bytes():
        shutil.copy(other, path)
    else:
        flip(path, random)


KINDS: tuple[Callable[[Path, np.random.Generator], None], ...] = (flip, flip, truncate, delete, zero, exchange)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "run"
    run_fit(folder, *RUN)
    return folder


def damages(run: Path, number: int, look: Callable[[Checkpoints, Path], None]) -> None:
    """Damages one file of the newest checkpoint after another, each brought back before the next."""
    random, folder = np.random.default_rng(0), run / "checkpoints" / "000000020"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    assert {path.name for path in files} >= {"manifest.json", "meta.json", "manifest.ocdbt"}
    for count in range(number):
        path = files[count % len(files)]
        content = path.read_bytes()
        KINDS[int(random.integers(len(KINDS)))](path, random)
        assert not path.is_file() or path.read_bytes() != content, "nothing was damaged"
        look(Checkpoints(run / "checkpoints"), path)
        path.write_bytes(content)
    assert Checkpoints(run / "checkpoints").problem(20) is None


def test_two_hundred_damages_are_all_seen_and_a_named_step_refuses(run: Path) -> None:
    def look(checkpoints: Checkpoints, path: Path) -> None:
        assert str(path) in (checkpoints.problem(20) or "nothing is wrong")
        with pytest.raises(Damaged) as refused:
            checkpoints.restore(20, {})
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)

    damages(run, 200, look)
    counted("a bit, a block, a file of a checkpoint damaged", damages=200, silent=0)


@pytest.mark.parametrize("number", [12, pytest.param(200, marks=pytest.mark.long)])
def test_a_run_goes_on_from_the_one_before(run: Path, tmp_path: Path, number: int) -> None:
    ready, _, _ = prepared(*RUN)
    numbers = ready.program.numbers(ready.values)
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    wanted = Checkpoints(run / "checkpoints").meta(10)["state"]["leaves"]

    def look(checkpoints: Checkpoints, path: Path) -> None:
        from bigtrain.checkpoint import leaves

        said: list[str] = []
        start = begin(ready, checkpoints, numbers, lambda text, style="": said.append(text))
        assert start.step == 10
        assert leaves.describe(start.state.as_dict()) == wanted
        assert said[0].startswith("warning: checkpoint of step 20: ")
        assert str(path) in said[0]
        assert said[1] == "going on from step 10, the newest that is intact"
        (copy / "checkpoints" / "000000020.damaged").rename(copy / "checkpoints" / "000000020")
        checkpoints.close()

    damages(copy, number, look)
    counted("the same, and the run is started again", damages=number, silent=0, went_on_from_the_one_before=number)


def test_other_data_of_the_same_shapes_is_refused(run: Path) -> None:
    """As many examples, in another order: nothing else would tell."""
    ready, _, _ = prepared(*RUN)
    train = ready.dataset.splits["train"]
    assert isinstance(train, Arrays)
    splits = {**ready.dataset.splits, "train": train.subset(np.arange(len(train))[::-1])}
    other = dataclasses.replace(ready, dataset=dataclasses.replace(ready.dataset, splits=splits))
    with pytest.raises(InputError, match=r"data: is not what the run had at step 20 .*\n  train: 1,259 examples "):
        begin(other, Checkpoints(run / "checkpoints"), ready.program.numbers(ready.values))


@pytest.mark.parametrize("saved_on", [1, 2, 4, 8])
def test_any_number_of_devices_restores_the_same_bits(saved_on: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = {"w": random.normal(size=(16, 24)).astype(np.float32), "b": random.normal(size=(8,)).astype(np.float32)}

    def placed(ways: int, array: np.ndarray) -> Any:
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:ways]), ("x",))
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {name: jax.device_put(array, placed(saved_on, array)) for name, array in values.items()}, {})
    checkpoints.wait()
    recorded = checkpoints.meta(1)["state"]["leaves"]
    for ways in (1, 2, 4, 8):
        abstract = {
            name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=placed(ways, array))
            for name, array in values.items()
        }
        found = checkpoints.restore(1, abstract)
        assert {len(array.sharding.device_set) for array in found.values()} == {ways}
        from bigtrain.checkpoint import leaves

        assert leaves.describe(found) == recorded
    checkpoints.close()
