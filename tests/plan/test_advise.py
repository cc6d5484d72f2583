"""Advice for what doesn't fit, and the search: what they propose fits, and the best comes first."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from plans import planner

from bigtrain.config.errors import ConfigError
from bigtrain.plan.advice import Advice
from bigtrain.plan.advise import more_devices
from bigtrain.plan.search import search
from bigtrain.plan.searched import keys_of
from bigtrain.plan.variation import batches, meshes

SMALL = ("model=transformer/nano", "model.width=32", "model.layers=4", "model.scan_layers=true", "data=text",
         "data.length=32", "batch_size=64", "eval_batch_size=8")  # fmt: skip


def test_advice_fits_and_trains_the_same() -> None:
    needed = planner(*SMALL).made.plan.memory
    asked = planner(*SMALL, capacity=needed.peak - int(0.3 * (needed.peak - needed.categories["process"])))
    found = asked.advised()
    assert not found.memory.fits
    advice = found.advice
    assert advice is not None
    assert advice.compiled
    assert advice.alters is None
    assert all(text.split("=")[0] in ("model.remat", "accumulate") for text in advice.changes)
    assert asked.plan(advice.changes).memory.fits
    assert " ".join(advice.changes) in advice.sentence()
    assert found.to_json()["advice"]["changes"] == list(advice.changes)


def test_what_fits_gets_no_advice() -> None:
    assert planner(*SMALL, capacity=10**12).advised().advice is None


def test_nothing_makes_it_fit() -> None:
    assert planner("model.widths=[8]", capacity=1000).advised().advice is None


def test_the_sentence() -> None:
    advice = Advice(("accumulate=2",), 3 * 10**9, 1.25, False, "smaller batches train differently")
    assert advice.sentence() == (
        "the cheapest change that makes it fit: accumulate=2 "
        "(3.00 GB, estimated; 1.25 times the step time; smaller batches train differently)"
    )


@pytest.mark.long
def test_the_search_ranks_what_fits() -> None:
    ranked = search(planner(*SMALL, devices=4, capacity=10**12), keys_of("mesh,batch_size,remat"))
    speeds = [plan.examples_per_second for _, plan in ranked.plans]
    assert len(speeds) >= 3
    assert all(before >= 0.99 * after for before, after in itertools.pairwise(speeds))
    assert all(plan.memory.fits for _, plan in ranked.plans)
    assert ranked.variants > ranked.compiled == len(speeds)
    answer = ranked.answer(["model=mlp", "mesh=fsdp", "mesh.fsdp=4", "batch_size=64"], " --trust mine")
    best = answer["json"]["configurations"][0]
    assert best["command"].startswith("bigtrain fit model=mlp ")
    assert best["command"].endswith(" --trust mine")
    assert best["command"].count("batch_size=") <= 1
    assert best["command"] in answer["page"]
    assert answer["refused"] is None


def test_a_search_where_nothing_fits() -> None:
    ranked = search(planner("model.widths=[8]", capacity=1000), ["batch_size"])
    assert ranked.answer([], "")["refused"] == "nothing of 5 configurations fits on cpu"


def test_what_can_not_be_searched() -> None:
    with pytest.raises(ConfigError, match="'bach_size' can't be searched") as raised:
        keys_of("mesh,bach_size")
    assert "did you mean 'batch_size'?" in str(raised.value)
    with pytest.raises(ConfigError, match="names nothing"):
        keys_of(",")
    with pytest.raises(ConfigError, match="MLP has no remat"):
        search(planner("model.widths=[8]"), ["remat"])


def test_meshes_use_every_device() -> None:
    found = list(meshes(8))
    assert ("mesh=data", "mesh.data=8") in found
    assert ("mesh=fsdp_tensor", "mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2") in found
    assert len(found) == len(set(found)) == 10  # ways to write 8 as a product of three, in order
    assert list(meshes(1)) == [("mesh=single",)]
    assert batches(3) == [1, 3, 6, 12]


def test_more_devices_are_the_last_resort() -> None:
    made = planner("model.widths=[64]", "batch_size=64").made
    memory = dataclasses.replace(made.plan.memory, capacity=int(0.4 * made.plan.memory.peak))
    plan = dataclasses.replace(made.plan, hardware="tpu-v5e-1", memory=memory)
    advice = more_devices(dataclasses.replace(made, plan=plan))
    assert advice is not None
    assert advice.changes == ("hardware=tpu-v5e-4", "mesh=fsdp")  # there is no slice of two
    assert advice.alters == "4 times the devices"
    assert more_devices(made) is None  # a CPU has no more
