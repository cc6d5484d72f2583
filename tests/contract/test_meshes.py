"""What a mesh may not change: the initial parameters bit for bit, and the losses to 1e-5 relative over 50 steps.

Each family runs on one mesh of three axes, in which batch, parameters, optimizer and named dimensions are all split;
the Transformer on each mesh by itself. What any family sends on any mesh is compared with what the mesh gives a reason
for; `scripts/check_meshes.py` also trains every family on every mesh.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from meshes import CUBE, FAMILIES, MESHES, REFUSED, SHORT, unexpected
from support import fitted, losses_of, prepared, run_fit, state_hash

from bigtrain.config.errors import ConfigError
from bigtrain.plan.collectives import collectives

GPT = FAMILIES["gpt"]
LONG = FAMILIES["lstm"] + ("model.layers=2",)
PAIRS = FAMILIES["seq2seq"]
RECURRENT = {
    "simple": (*LONG, "model.cell=simple"),
    "gru": (*LONG, "model.cell=gru"),
    "pairs_gru": ("model=seq2seq/gru", *PAIRS[1:]),  # an encoder that reads both ways
    "luong": (*PAIRS, "model.attention=luong", "model.layers=2"),
    "none": (*PAIRS, "model.attention=none", "model.reverse_source=true"),
}
"""The other recurrences, and ways to attend: their gates are what is cut out of arrays that a mesh would split."""

SOME = {("lstm", "fsdp_tensor"), ("seq2seq", "fsdp_tensor")}  # the others take minutes


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Transformer on one device."""
    folder = tmp_path_factory.mktemp("single") / "run"
    run_fit(folder, *GPT, *SHORT)
    return folder


COVERED = ("data", "fsdp", "tensor", "hybrid")  # by a mesh of two axes, or by another test of every family


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in COVERED else []) for name in MESHES]
)
def test_the_transformer_on_each_mesh(name: str, single: Path, tmp_path: Path) -> None:
    ready, _ = fitted(tmp_path / "run", *GPT, *SHORT, *MESHES[name])
    np.testing.assert_allclose(losses_of(tmp_path / "run"), losses_of(single), rtol=1e-5)
    found = collectives(ready.program.executables["advance"].as_text(), ready.rules.mesh.shape)
    assert found
    assert unexpected(name, {(entry.kind, entry.axis) for entry in found}) == set()


@pytest.mark.parametrize(
    ("family", "mesh"),
    [
        pytest.param(family, mesh, marks=[] if (family, mesh) in SOME else [pytest.mark.long])
        for family in (*FAMILIES, *RECURRENT)
        for mesh in MESHES
        if (family, mesh) not in REFUSED and not (family in RECURRENT and "tensor" not in mesh)
    ],
)
def test_devices_send_only_what_a_mesh_is_for(family: str, mesh: str) -> None:
    ready, _, _ = prepared(*{**FAMILIES, **RECURRENT}[family], *SHORT, *MESHES[mesh])
    found = collectives(ready.program.executables["advance"].as_text(), ready.rules.mesh.shape)
    assert found
    assert unexpected(mesh, {(entry.kind, entry.axis) for entry in found}) == set()


@pytest.mark.long
@pytest.mark.parametrize(("family", "mesh"), sorted(REFUSED))
def test_what_has_no_steps_to_split_is_refused(family: str, mesh: str) -> None:
    with pytest.raises(ConfigError, match=r"^mesh\.(sequence|rules\.time): "):
        prepared(*FAMILIES[family], *SHORT, *MESHES[mesh])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] if name != "cnn" else []) for name in FAMILIES if name != "gpt"],
)
def test_each_family_on_a_mesh_of_three_axes(name: str, tmp_path: Path) -> None:
    run_fit(tmp_path / "one", *FAMILIES[name], *SHORT)
    result = run_fit(tmp_path / "cube", *FAMILIES[name], *SHORT, *CUBE)
    np.testing.assert_allclose(losses_of(tmp_path / "cube"), losses_of(tmp_path / "one"), rtol=1e-5)
    assert result["steps"] == 50


@pytest.mark.long
def test_fresh_parameters_are_the_same_bits_on_any_mesh() -> None:
    states = set()
    for mesh in ((), ("mesh=fsdp", "mesh.fsdp=2"), ("mesh=fsdp", "mesh.fsdp=4"), MESHES["fsdp_tensor"]):
        ready, _, _ = prepared(*GPT, *SHORT, *mesh)
        states.add(state_hash(ready.program.init(ready.program.numbers(ready.values))))
    assert len(states) == 1


def test_the_optimizer_follows_its_parameter() -> None:
    for optimizer in ("adamw", "muon"):
        ready, _, _ = prepared(*GPT, *SHORT, f"optimizer={optimizer}", *MESHES["fsdp_tensor"])
        state = ready.program.abstract
        shapes = {name: leaf for name, leaf in state.params.items() if not leaf.sharding.is_fully_replicated}
        assert any(name.endswith("kernel") for name in shapes)
        followers = [
            (path[-1].key, leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
            if getattr(path[-1], "key", None) in shapes and leaf.shape == shapes[path[-1].key].shape
        ]
        assert len(followers) >= len(shapes)
        assert all(leaf.sharding == shapes[name].sharding for name, leaf in followers)


def test_with_a_split_optimizer_parameters_are_on_each_device() -> None:
    state = prepared(*GPT, *SHORT, *MESHES["zero1"])[0].program.abstract
    assert all(leaf.sharding.is_fully_replicated for leaf in state.params.values())
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.size >= 1024]
    assert moments
    assert not any(leaf.sharding.is_fully_replicated for leaf in moments)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("model=mlp", "mesh=sequence"),
            "mesh.sequence: nothing of this run is split over the 8 devices of 'sequence'",
        ),
        (("model=mlp", "model.widths=[30]", "mesh=tensor"), "mesh.rules.hidden: 30 hidden of hidden.0.kernel [64, 30]"),
        ((*GPT, "mesh=tensor"), "mesh.rules.heads: 4 heads of blocks.stacked.attention.key.kernel [2, 32, 32]"),
        ((*GPT, "mesh=sequence", "data.length=20"), "mesh.rules.time: 20 time of an activation [16, 20, 32]"),
        (
            ("model=mlp", "model.widths=[8]", "mesh=zero1"),
            "mesh.rules.optimizer: none of these arrays has 1,024 numbers and a size that divides over data",
        ),
        ((*GPT, "mesh=data", "mesh.rules.haeds=data"), "mesh.rules.haeds: no array has such a dimension"),
    ],
)
def test_what_a_mesh_cannot_split_is_refused_before_compilation(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prepared(*overrides, "batch_size=16")
    assert str(caught.value).startswith(message)


def test_a_large_model_that_is_left_whole_is_refused() -> None:
    large = ("model=mlp", "model.widths=[6000,6001]", "mesh=fsdp", "mesh.rules.parameters=null", "batch_size=16")
    with pytest.raises(ConfigError) as caught:
        prepared(*large)
    assert str(caught.value) == (
        "mesh.replicated: 100.0% of the 0.15 GB of parameters would be whole on each device of fsdp, the largest of "
        "them hidden.1.kernel [6000, 6001]\n  allowed: at most 2.0%\n"
        "  split it: mesh.rules.parameters=fsdp; or allow it: mesh.replicated=1"
    )
