"""Plans of small runs: parameters, optimizer and operations against sums by hand, memory against its categories."""

from __future__ import annotations

import pytest
from plans import made

from bigtrain.plan.memory import CATEGORIES, Resting, Use, exhausted, memory
from bigtrain.plan.report import page, refusal

BATCH = 512
MLP = ("model=mlp", "model.widths=[256,512]", f"batch_size={BATCH}")


@pytest.fixture(scope="module")
def mlp():
    return made(*MLP)


def test_parameters_and_optimizer_bytes_are_exact(mlp) -> None:
    count = (64 * 256 + 256) + (256 * 512 + 512) + (512 * 10 + 10)
    assert mlp.plan.parameters == count
    assert mlp.plan.to_json()["parameter_bytes"] == 4 * count
    assert mlp.plan.optimizer_bytes == 2 * 4 * count + 8  # two moments, and two counters of steps
    assert sum(part.parameters for part in mlp.plan.parts) == count
    assert mlp.plan.memory.categories["parameters"] == 4 * count


def test_operations_of_an_mlp(mlp) -> None:
    layers = (64 * 256, 256 * 512, 512 * 10)
    by_hand = 2 * BATCH * (3 * sum(layers) - layers[0])  # no gradient by the data
    assert mlp.plan.products == by_hand
    assert mlp.plan.flops == pytest.approx(by_hand, rel=0.03)  # the rest: activations, losses, Adam


def test_memory_is_the_sum_of_its_categories(mlp) -> None:
    found = mlp.plan.memory
    assert set(found.categories) == {*CATEGORIES, "process"}
    assert found.peak == sum(found.categories.values())
    assert min(found.categories.values()) >= 0
    assert found.fits == (found.peak <= found.capacity)


def test_json_and_page(mlp) -> None:
    plan = mlp.plan
    found = plan.to_json()
    assert {
        "parameters", "flops_per_step", "fits", "memory", "collectives", "roofline", "step_seconds", "mfu_bound",
        "examples_per_second", "tokens_per_second", "hours", "device_hours", "cost", "modules", "advice",
    } <= set(found)  # fmt: skip
    assert {"peak_bytes", "capacity_bytes", "missing_bytes", "categories", "during"} <= set(found["memory"])
    assert found["memory"]["peak_bytes"] == sum(found["memory"]["categories"].values())
    assert found["device_hours"] == pytest.approx(found["steps"] * found["step_seconds"] / 3600)
    text = page(plan)
    assert max(map(len, text.splitlines())) <= 80
    assert f"{plan.parameters:,}" in text


def test_a_price_gives_the_cost() -> None:
    plan = made(*MLP, "plan.price=3", "steps=100").plan
    found = plan.to_json()
    assert found["cost"] == pytest.approx(3 * found["device_hours"])
    assert "at 3 a device-hour" in " ".join(page(plan).split())


def test_operations_of_an_lstm() -> None:
    width, steps, batch, vocabulary, embedded = 128, 16, 32, 75, 64
    lstm = ("model=rnn", "model.cell=lstm", f"model.width={width}", "model.layers=1")
    plan = made(*lstm, "data=text", f"data.length={steps}", f"batch_size={batch}").plan
    cell = 2 * (embedded + width) * (4 * width)  # of input and state into four gates
    head = 2 * width * vocabulary
    by_hand = 3 * batch * steps * (cell + head)
    assert plan.vocabulary == vocabulary
    assert plan.products == pytest.approx(by_hand, rel=0.01)


def test_operations_of_a_convolutional_network() -> None:
    batch = 64
    plan = made("model=cnn/lenet5", f"batch_size={batch}").plan
    first = 28**2 * 5 * 5 * 1 * 6  # of 32 x 32, without padding; then halved
    second = 10**2 * 5 * 5 * 6 * 16  # of 14 x 14; then halved
    dense = 5 * 5 * 16 * 120 + 120 * 84 + 84 * 10
    by_hand = 2 * batch * (3 * (first + second + dense) - first)  # no gradient by the images
    assert plan.products == pytest.approx(by_hand, rel=0.01)


def test_operations_of_a_transformer() -> None:
    width, layers, steps, batch, vocabulary = 64, 3, 32, 16, 75
    plan = made("model=transformer/nano", f"model.width={width}", f"model.layers={layers}", "data=text",
                f"data.length={steps}", f"batch_size={batch}").plan  # fmt: skip
    tokens = batch * steps
    weights = layers * 12 * width**2 + width * vocabulary  # 6ND, with the output layer
    attention = layers * 2 * 2 * steps * width  # scores and their mix, for each token
    by_hand = tokens * 3 * (2 * weights + attention)
    assert plan.products == pytest.approx(by_hand, rel=0.01)
    assert plan.tokens == steps


@pytest.mark.long
def test_what_is_computed_again_is_counted_apart() -> None:
    small = ("model=transformer/nano", "model.width=32", "data=text", "data.length=16", "batch_size=8")
    kept = [made(*small, f"model.remat={kind}") for kind in ("none", "full")]
    plain, full = (entry.plan for entry in kept)
    assert full.flops == pytest.approx(plain.flops)
    assert 1.1 * full.flops < full.flops_done < 1.4 * full.flops
    assert plain.flops_done == plain.flops
    assert kept[1].kept < 0.5 * kept[0].kept


def test_a_mesh_splits_the_state_and_says_what_is_sent() -> None:
    whole = made("model.widths=[512,512]", "batch_size=64").plan
    split = made("model.widths=[512,512]", "batch_size=64", "mesh=fsdp", devices=4).plan
    assert split.mesh == {"data": 1, "fsdp": 4}
    ratio = split.memory.categories["optimizer"] / whole.memory.categories["optimizer"]
    assert 0.25 <= ratio < 0.27  # biases stay whole
    assert {"all-gather", "all-reduce"} <= {entry.kind for entry in split.collectives}
    assert {entry.axis for entry in split.collectives} == {"fsdp"}
    assert whole.collectives == []


def test_what_does_not_fit_says_how_much_is_missing() -> None:
    plan = made(*MLP, capacity=10_000_000).plan
    assert not plan.memory.fits
    assert plan.memory.missing == plan.memory.peak - 10_000_000
    assert f"{plan.memory.missing / 1e9:.2f} GB are missing on each device" in refusal(plan)
    assert f"does not fit: {plan.memory.missing / 1e6:.2f} MB missing" in page(plan)


RESTING = Resting(parameters=100, optimizer=200, statistics=10, feed=5, feeds=4, chunk=7, kept=30)


def test_the_fullest_moment_decides() -> None:
    uses = {"advance": Use(0, 400), "evaluate": Use(0, 900), "init": Use(0, 350)}
    found = memory(RESTING, uses, 50, 2000, "made up")
    assert found.during == "evaluation"
    assert found.peak == 310 + 20 + 30 + 900
    trained = memory(RESTING, {**uses, "evaluate": Use(0, 1)}, 50, 500, "made up")
    assert (trained.during, trained.peak) == ("training", 310 + 20 + 30 + 400)
    assert trained.categories["activations"] == 50
    assert trained.categories["gradients"] == 100
    assert trained.categories["temporaries"] == 250
    assert (trained.fits, trained.missing) == (False, 260)
    started = memory(RESTING, {"advance": Use(0, 1), "init": Use(0, 1000)}, 50, 2000, "made up")
    assert (started.during, started.peak) == ("initialisation", 20 + 1000)
    saved = memory(RESTING, {"advance": Use(0, 1)}, 50, 2000, "made up", saves=True)
    assert (saved.during, saved.peak) == ("saving", 20 + 30 + 3 * 310)
    large = memory(RESTING, {"advance": Use(0, 500)}, 50, 2000, "made up", saves=True)
    assert (large.during, large.peak) == ("training", 20 + 30 + 2 * 310 + 500)  # the copy is there while it trains


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("RESOURCE_EXHAUSTED: … HLO temporaries (40.25G) exceeds available HBM (15.75G).", 40.25 * 2**30),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 39.67G of 15.75G hbm.", 39.67 * 2**30),
        ("RESOURCE_EXHAUSTED: something else", None),
        ("INTERNAL: Used 39.67G of 15.75G hbm", None),
    ],
)
def test_the_compilers_refusal_is_read(text: str, needed: float | None) -> None:
    assert exhausted(RuntimeError(text)) == (None if needed is None else int(needed))
