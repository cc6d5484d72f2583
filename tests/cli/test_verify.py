"""`bigtrain verify`: the recorded state comes out again, or the leaf that differs is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import typed

from bigtrain.checkpoint import leaves, manifest
from bigtrain.parallel import cluster

RUN = (
    "model.widths=[8] model.dropout=0.1 batch_size=16 logger=jsonl steps=24 checkpoint.every=8 checkpoint.keep=9 "
    "schedule=cosine augment=[noise] ema=0.9 checkpoint.best=false"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "run"
    assert typed(f"fit {RUN} run_dir={folder}").code == 0
    return folder


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes what a checkpoint says of itself, in good order."""
    meta = json.loads((folder / "meta.json").read_text())
    change(meta)
    (folder / "meta.json").write_text(json.dumps(meta))
    manifest.write(folder, int(folder.name))


def test_a_part_of_a_run_gives_the_recorded_state_and_changes_nothing(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    done = typed(f"verify {run}")
    assert done.code == 0, done.err
    assert done.out.startswith("equal       steps 16 to 24 give the recorded state, bit for bit\nstate       ")
    names = ["equal", "state", "config", "code", "data", "data", "data", "versions", "mesh", "devices", "receipt"]
    assert [line.split()[0] for line in done.out.splitlines()] == names
    receipt = json.loads((run / "receipt.json").read_text())
    assert receipt["recorded"] == receipt["replayed"]
    assert receipt["changed"] == []
    assert {"jax", "flax", "optax", "numpy", "python"} <= set(receipt["now"]["versions"])
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path in before} == before
    assert {path.name for path in run.rglob("*") if path.is_file()} - {path.name for path in before} == {"receipt.json"}


@pytest.mark.parametrize(("options", "part"), [("--checkpoint 0", (0, 8)), ("--checkpoint 8 --steps 16", (8, 24))])
def test_any_part_from_any_checkpoint(run: Path, options: str, part: tuple[int, int]) -> None:
    found = json.loads(typed(f"verify {run} {options} --json").out)
    assert (found["from"], found["to"], found["equal"], found["compared_with"]) == (*part, True, "checkpoint")


def test_of_a_step_without_a_checkpoint_two_replays_are_compared(run: Path) -> None:
    found = json.loads(typed(f"verify {run} --checkpoint 8 --steps 3 --json").out)
    assert (found["from"], found["to"], found["equal"], found["compared_with"]) == (8, 11, True, "a second replay")


def test_another_state_is_exit_1_and_its_first_leaf_is_named(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))

    def change(meta: dict[str, Any]) -> None:
        names = [name for name in meta["state"]["leaves"] if name.startswith("['params']")]
        meta["state"]["leaves"][names[-1]][2] = "0" * 64
        meta["state"]["sha256"] = leaves.state_hash(meta["state"]["leaves"])
        meta["made"]["versions"]["optax"] = "0.0.1"

    rewritten(copy / "checkpoints" / "000000024", change)
    done = typed(f"verify {copy}")
    assert done.code == 1
    first = done.out.splitlines()[0]
    assert first == "differs     steps 16 to 24 do not give the recorded state: ['params']['output.kernel'] differs"
    assert "changed     versions.optax: 0.0.1 there, " in done.out
    assert json.loads((copy / "receipt.json").read_text())["equal"] is False


def test_refusals(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {
        "--checkpoint 5": "error: --checkpoint: there is no 5\n  allowed: 0, 8, 16, 24\n",
        "--checkpoint last": "error: --checkpoint: 'last' is no step\n  allowed: 0, 8, 16, 24\n",
        "--checkpoint 24": "error: --checkpoint: no checkpoint is later than step 24\n"
        "  begin at an earlier one: 0, 8, 16\n",
        "--checkpoint 24 --steps 1": "error: --steps: the run ends at step 24\n  allowed: at most 0\n",
    }
    for options, message in refused.items():
        done = typed(f"verify {run} {options}")
        assert (done.code, done.err) == (2, message)
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    rewritten(copy / "checkpoints" / "000000024", lambda meta: meta["made"].update(processes=2))
    done = typed(f"verify {copy}")
    said = "the run was trained in 2 processes, and verify was started in 1"
    hint = f"bigtrain launch -n 2 verify {copy}, or start it as the run was started"
    assert (done.code, done.err) == (2, f"error: {copy}: {said}\n  {hint}\n")
    for name, value in cluster.told("127.0.0.1:1", 2, 0).items():  # as `bigtrain launch -n 2 verify` says it
        monkeypatch.setenv(name, value)
    done = typed(f"verify {run}")
    said = "the run was trained in 1 process, and verify was started in 2"
    assert (done.code, done.err) == (2, f"error: {run}: {said}\n  bigtrain verify {run}\n")
    for name in cluster.told("", 2, 0):
        monkeypatch.delenv(name)
    cut = copy / "checkpoints" / "000000016" / "arrays" / "manifest.ocdbt"
    cut.write_bytes(cut.read_bytes()[:-1])
    done = typed(f"verify {copy} --checkpoint 16 --steps 2")
    assert done.code == 2
    assert "bytes instead of" in done.err
