"""What must be equal, and how nearly. These tolerances are part of the design and are not relaxed.

sharded = unsharded: losses to 1e-5 relative over 20 steps, initial parameters bit for bit.
accumulated = whole: losses to 1e-5 relative (where no random numbers are drawn in the step).
scanned = looped, streamed = resident, resumed = uninterrupted: the whole state, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support import final_state, fresh, interrupted_at, losses_of, metrics_of, prepared, run_fit, state_hash

from bigtrain.data.placement import Dispatch, Streamed
from bigtrain.train.hooks import Interrupted

FAMILIES = {
    "mlp": ("model=mlp", "model.dropout=0.1", "model.norm=batch"),
    "rnn": ("model=rnn", "model.width=16", "model.dropout=0.1"),
    "gru_text": ("model=rnn", "model.cell=gru", "model.width=16", "data=text", "data.length=16"),
    "gpt_text": (
        "model=transformer", "model.layers=2", "model.width=16", "model.heads=2", "model.kv_heads=1",
        "model.scan_layers=true", "model.dropout=0.1", "data=text", "data.length=16",
    ),
    "vae": ("model=vae", "model.widths=[32]", "model.latent=4"),
    "seq2seq": (
        "model=seq2seq", "model.width=8", "model.embedding=8", "model.dropout=0.1", "data=arithmetic",
        "data.examples=200",
    ),
    "cnn": ("model=cnn", "model.stages=[{channels:4,pool:2},{channels:4,block:basic}]", "model.head=[8]"),
}  # fmt: skip
SHORT = ("steps=20", "batch_size=16", "log_every=1", "eval_every=10", "checkpoint.every=10", "ema=0.9", "clip_norm=1.0")


LONG = ("seq2seq", "gru_text")
"""Families that take long to compile; each part of theirs is in another one too: pytest -m long."""
NAMES = [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in FAMILIES]


@pytest.fixture(params=NAMES, scope="module")
def family(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return FAMILIES[request.param]


@dataclass(frozen=True)
class Plain:
    """A family's run with its data on one device, in two calls of ten steps: what others are compared with."""

    folder: Path
    hash: str


@pytest.fixture(scope="module")
def plain(family: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("plain") / "run"
    run_fit(folder, *family, *SHORT)
    return Plain(folder, state_hash(final_state(folder, *family, *SHORT)))


def test_sharded_equals_unsharded(family: tuple[str, ...], plain: Plain, tmp_path: Path) -> None:
    result = run_fit(tmp_path / "eight", *family, *SHORT, "mesh=data", "mesh.data=8")
    np.testing.assert_allclose(losses_of(tmp_path / "eight"), losses_of(plain.folder), rtol=1e-5)
    assert result["steps"] == 20


def test_fresh_parameters_do_not_depend_on_the_mesh(family: tuple[str, ...]) -> None:
    meshes = (("mesh=single",), ("mesh=data", "mesh.data=2"), ("mesh=data", "mesh.data=8"))
    assert len({state_hash(fresh(*family, *SHORT, *mesh)) for mesh in meshes}) == 1


@pytest.mark.parametrize("name", ["mlp", "rnn", "gru_text", pytest.param("seq2seq", marks=pytest.mark.long)])
def test_accumulated_equals_whole(name: str, tmp_path: Path) -> None:
    """Without dropout, and without batch norm, which sees a microbatch at a time; some of unequal numbers of tokens."""
    model = (*FAMILIES[name], "model.dropout=0", *(["model.norm=none"] if name == "mlp" else []))
    run_fit(tmp_path / "whole", *model, *SHORT)
    run_fit(tmp_path / "pieces", *model, *SHORT, "accumulate=4")
    np.testing.assert_allclose(losses_of(tmp_path / "pieces"), losses_of(tmp_path / "whole"), rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=pytest.mark.long)])
def test_scanned_layers_equal_separate_ones(optimizer: str, tmp_path: Path) -> None:
    """Weight decay and the choice of matrices see each layer of a stack as they see a layer by itself."""
    family = [*FAMILIES["gpt_text"], "~model.dropout", f"optimizer={optimizer}", "optimizer.weight_decay=0.5"]
    run_fit(tmp_path / "scanned", *family, *SHORT)
    run_fit(tmp_path / "separate", *family, *SHORT, "model.scan_layers=false")
    np.testing.assert_allclose(losses_of(tmp_path / "scanned"), losses_of(tmp_path / "separate"), rtol=1e-5)


def test_scanned_equals_looped(family: tuple[str, ...], plain: Plain, tmp_path: Path) -> None:
    """By ten and ten, and by 7, 7 and 6; one by one where a run is resumed."""
    rarely = ("eval_every=20", "checkpoint.every=20", "log_every=20")
    chosen = (*family, *SHORT, *rarely, "steps_per_dispatch=7")
    run_fit(tmp_path / "run", *chosen)
    assert state_hash(final_state(tmp_path / "run", *chosen)) == plain.hash


def test_streamed_equals_resident(family: tuple[str, ...], plain: Plain, tmp_path: Path) -> None:
    chosen = (*family, *SHORT, "placement=stream")
    run_fit(tmp_path / "run", *chosen)
    assert state_hash(final_state(tmp_path / "run", *chosen)) == plain.hash


def test_streamed_batches_are_the_resident_ones_bit_for_bit() -> None:
    resident, _, _ = prepared(*SHORT, "placement=resident", "batch_size=100")
    streamed, _, _ = prepared(*SHORT, "placement=stream", "batch_size=100")
    assert isinstance(streamed.placement, Streamed)
    plan = [Dispatch(0, 3), Dispatch(3, 1), Dispatch(4, 17)]
    for (_, (arrays, indices)), (dispatch, chunk) in zip(
        resident.placement.feeds(plan), streamed.placement.feeds(plan), strict=True
    ):
        for name, array in arrays.items():
            expected = np.asarray(array)[np.asarray(indices)[: dispatch.number]]
            np.testing.assert_array_equal(np.asarray(chunk[name])[: dispatch.number], expected)


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.long), 7, pytest.param(13, marks=pytest.mark.long)])
def test_resumed_equals_uninterrupted(
    family: tuple[str, ...], plain: Plain, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = (*family, *SHORT, "log_every=4", "steps_per_dispatch=1")
    run_fit(tmp_path / "whole", *chosen)
    with interrupted_at(monkeypatch, stop), pytest.raises(Interrupted) as caught:
        run_fit(tmp_path / "cut", *chosen)
    assert caught.value.step == stop
    run_fit(tmp_path / "cut", *chosen)
    whole, cut = (final_state(tmp_path / name, *chosen) for name in ("whole", "cut"))
    assert int(cut.step) == 20
    assert state_hash(cut) == state_hash(whole) == plain.hash
    assert metrics_of(tmp_path / "cut") == metrics_of(tmp_path / "whole")


def test_every_ingredient_of_the_state_matters_to_the_hash(tmp_path: Path) -> None:
    chosen = (*FAMILIES["mlp"], *SHORT)
    run_fit(tmp_path / "run", *chosen)
    state = final_state(tmp_path / "run", *chosen)
    parts = state.as_dict()
    for name in parts:
        assert state_hash({key: value for key, value in parts.items() if key != name}) != state_hash(parts)


def test_another_mesh_restores_the_same_state(tmp_path: Path) -> None:
    chosen = (*FAMILIES["vae"], *SHORT)
    run_fit(tmp_path / "run", *chosen, "mesh=data", "mesh.data=8")
    one = final_state(tmp_path / "run", *chosen, "mesh=single")
    four = final_state(tmp_path / "run", *chosen, "mesh=data", "mesh.data=4")
    assert state_hash(one) == state_hash(four)
    assert four.step.sharding.num_devices == 4
