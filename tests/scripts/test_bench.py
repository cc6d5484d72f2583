"""The benchmark's own arithmetic, and what it does with workers that print, fail, die and hang."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from bench import datasets, measure, ratios, report, start
from bench.catalog import GOALS, SIDES, WORKLOADS, Side, chosen_sides, goal, shortened, variant
from bench.remote import Failed, Remote
from bench.sides.bare_models import MODELS
from bench.sides.batches import order, split

from bigtrain.cli.fit import understood
from bigtrain.data.load import load_data
from bigtrain.train.prepare import definition

FAKE = '''
"""A framework whose time is what it is told to be, and which prints where answers go."""
import os, sys, time, types
from bench import worker

class Trainer:
    def __init__(self, workload, data, options):
        print("a banner on standard output")
        self.options, self.calls = options, 0
    def facts(self):
        return {"name": self.options.get("name")}
    def loss(self, steps, tail):
        return self.options.get("loss", 1.0)
    def warm(self):
        return self.options["cost"]
    def run(self, steps):
        self.calls += 1
        what = self.options.get("then") if self.calls > 1 else None
        if what == "fail":
            raise ValueError("out of\\n  memory")
        if what == "die":
            os._exit(3)
        if what == "hang":
            time.sleep(60)
        return self.options["cost"] * steps * self.calls, steps

sys.modules["bench.sides.fake"] = module = types.ModuleType("bench.sides.fake")
module.Trainer = Trainer
worker.main()
'''


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter that runs the fake worker, whatever it is asked to run."""
    (tmp_path / "fake.py").write_text(FAKE)
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'fake.py'}\n")
    script.chmod(0o755)
    return str(script)


def side(name: str, cost: float, **options: object) -> Side:
    return Side(name, name, "fake", "any", {"cost": cost, "name": name, **options})


def measured(sides: list[Side], python: str, tmp_path: Path, rounds: int = 3) -> dict[str, measure.Entry]:
    settings = measure.Settings(rounds=rounds, seconds=1.0)
    return measure.measure(WORKLOADS["W1"], sides, {"any": python}, tmp_path, tmp_path, settings, lambda _: None)


def test_ratios_are_taken_round_by_round() -> None:
    # the third round is slow for both; a ratio of medians would be 2/3, that of the rounds is 1/2 in each
    spread = ratios.paired([1.0, 2.0, 30.0, 1.5], [2.0, 4.0, 60.0, 3.0])
    assert spread == ratios.Spread(0.5, 0.5, 0.5, 4)


def test_quartiles() -> None:
    assert ratios.Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == ratios.Spread(3.0, 2.0, 4.0, 5)
    assert ratios.Spread.of([7.0]) == ratios.Spread(7.0, 7.0, 7.0, 1)
    with pytest.raises(ValueError, match="no measurement"):
        ratios.Spread.of([])


def test_unequal_numbers_are_not_paired() -> None:
    with pytest.raises(ValueError, match="3 measurements can't be paired with 2"):
        ratios.paired([1, 2, 3], [1, 2])


def test_far_losses() -> None:
    losses = {"a": 1.0, "b": 1.05, "c": 1.2, "d": float("nan"), "e": 0.95}
    assert list(ratios.far(losses, 0.1)) == ["c", "d"]
    assert ratios.far({"a": 1.0, "b": 1.0}, 0.0) == {}


def test_all_sides_do_the_same_number_of_steps_unless_one_takes_too_long() -> None:
    assert ratios.planned({"fast": 0.01, "slow": 0.03, "slowest": 0.1}, 2.0) == {
        "fast": 200,
        "slow": 200,
        "slowest": 80,
    }
    assert ratios.planned({"only": 100.0}, 1.0) == {"only": 1}


def test_the_best_form_has_the_least_median() -> None:
    assert ratios.best_of({"a": [1.0, 9.0, 9.0], "b": [5.0, 5.0, 5.0]}) == "b"


def test_workers_are_paired_by_round(python: str, tmp_path: Path) -> None:
    # each call takes longer than the one before, by the same factor for all: ratios stay exact
    entries = measured([side("bigtrain", 0.01), side("bare", 0.02, loss=1.5)], python, tmp_path)
    assert entries["bigtrain"].steps == entries["bare"].steps == 100
    assert entries["bigtrain"].seconds_a_step == pytest.approx([0.01, 0.02, 0.03])
    assert measure.compared(entries)["bare"] == ratios.Spread(pytest.approx(0.5), *[pytest.approx(0.5)] * 2, 3)
    assert entries["bare"].facts == {"name": "bare"}
    assert entries["bare"].peak_bytes is not None
    assert entries["bare"].peak_bytes > 1e6


@pytest.mark.parametrize(
    ("what", "reason"), [("fail", "run: ValueError: out of memory"), ("die", "run: the worker ended with status 3")]
)
def test_a_failing_side_stops_no_other(what: str, reason: str, python: str, tmp_path: Path) -> None:
    sides = [side("bigtrain", 0.01), side("keras-tf", 0.02, then=what), side("torch-fused", 0.04)]
    entries = measured(sides, python, tmp_path)
    assert str(entries["keras-tf"].failure).startswith(reason)
    found = measure.compared(entries)
    assert set(found) == {"torch-fused", "torch-best"}
    assert found["torch-best"].median == pytest.approx(0.25)
    page = report.page([WORKLOADS["W1"]], {"W1": entries}, {"cores": 2}, measure.Settings(rounds=3))
    assert "| Keras on TensorFlow, default | failed |" in page
    assert "| PyTorch, its best form | **0.250** (0.250 to 0.250) ✓ ≤ 0.25 |" in page


def test_a_missing_environment_is_said(tmp_path: Path) -> None:
    settings = measure.Settings(rounds=1)
    entries = measure.measure(
        WORKLOADS["W1"], [SIDES["torch-fused"]], {"torch": None}, tmp_path, tmp_path, settings, lambda _: None
    )
    assert "python scripts/bench.py setup torch" in str(entries["torch-fused"].failure)


def test_a_hanging_worker_is_given_up(python: str, tmp_path: Path) -> None:
    worker = Remote(side("a", 0.01, then="hang"), python, tmp_path / "log")
    worker.ask("build", module="fake", workload="W1", data="", options={"cost": 1.0, "then": "hang"})
    assert worker.ask("run", steps=2)["seconds"] == 2.0
    with pytest.raises(Failed, match="run: no answer in 0 s"):
        worker.ask("run", steps=2, timeout=0.2)
    assert worker.process.poll() is not None


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="No such file"):
        Remote(side("a", 1.0), str(tmp_path / "none"), tmp_path / "log")


def test_a_loss_far_from_the_others_is_marked(python: str, tmp_path: Path) -> None:
    sides = [side("bigtrain", 0.01), side("bare", 0.01, loss=1.02), side("keras-jax", 0.01, loss=2.0)]
    page = report.page(
        [WORKLOADS["W1"]], {"W1": measured(sides, python, tmp_path, rounds=1)}, {}, measure.Settings(rounds=1)
    )
    assert page.count("far from the others") == 1
    assert "2 ✗ far from the others" in page


def test_choosing_sides() -> None:
    assert [one.name for one in chosen_sides(["keras", "torch-fused"])] == [
        "bigtrain", "keras-jax", "keras-jax-32", "keras-tf", "torch-fused",
    ]  # fmt: skip
    assert [one.name for one in chosen_sides(["keras-jax"])] == ["bigtrain", "keras-jax"]
    with pytest.raises(ValueError, match="no side is called 'flax'"):
        chosen_sides(["flax"])
    assert variant("stream: placement=stream seed=1").options == {"overrides": ["placement=stream", "seed=1"]}
    with pytest.raises(ValueError, match="is not 'NAME: override override'"):
        variant("placement=stream")


def test_goals_name_sides() -> None:
    assert set(GOALS) - {"torch-best"} <= set(SIDES)
    assert goal("bare", "W4") == 1.03
    assert goal("torch-fused", "W4") is None
    assert shortened(WORKLOADS["W1"]).loss_steps == 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets of the workloads, small."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets.WRITERS, "fashion", lambda *, small: datasets.patterns(200))
        for name in datasets.WRITERS:
            datasets.written(name, folder, small=True)
    return folder


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_bare_loop_has_the_parameters_of_bigtrains_model(name: str, data: Path) -> None:
    workload = WORKLOADS[name]
    folder = datasets.written(workload.data, data, small=True)
    words = ["data=npz", f"data.path={folder}", *workload.overrides, f"batch_size={workload.batch}"]
    if workload.batch > 200:
        words[-1] = "batch_size=100"
    _, checked, trusted = understood(words, None, [])
    ours = definition(checked, trusted, load_data(checked, trusted)).recipe()[1].params
    bare = jax.eval_shape(MODELS[name](**workload.model)[0], jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(ours)) == sum(leaf.size for leaf in jax.tree.leaves(bare))


def test_an_epoch_has_every_example_once_and_batches_are_whole(data: Path) -> None:
    inputs, targets = split(datasets.written("fashion", data, small=True), "train", 64)
    assert (len(inputs), len(targets)) == (192, 192)
    batches = order(192, 64)
    first, second = (np.concatenate([next(batches) for _ in range(3)]) for _ in range(2))
    np.testing.assert_array_equal(np.sort(first), np.arange(192))
    np.testing.assert_array_equal(np.sort(second), np.arange(192))
    assert (first != second).any()


def test_the_bytes_to_predict_are_the_next_ones(data: Path) -> None:
    inputs, targets = split(datasets.written("bytes", data, small=True), "train", 8)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    np.testing.assert_array_equal(inputs[0, 64:], inputs[1, :-64])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --rounds 0", "--rounds: '0' is no whole number above 0"),
        ("run --seconds nan", "--seconds: 'nan' is no number above 0"),
        ("run --workloads --quick", "--workloads: expected at least one argument"),
        ("start --repeats 0", "--repeats: '0' is no whole number above 0"),
        ("data --rounds -1", "--rounds: '-1' is no whole number above 0"),
        ("start --against bigtrain-stream", "start times `bigtrain fit` as it is"),
        ("run --also 'a: x=1' --also 'a: x=2'", "two sides are called 'bigtrain-a'"),
    ],
)
def test_what_can_not_be_measured_is_refused(words: str, said: str, monkeypatch, capsys) -> None:
    import shlex

    import bench as package

    spec = importlib.util.spec_from_file_location("bench_script", Path(package.__path__[0]).parent / "bench.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", ["bench.py", *shlex.split(words)])
    monkeypatch.setattr(script.signal, "signal", lambda *_: None)
    monkeypatch.setattr(script.measure, "measure", lambda *_: pytest.fail("something was measured"))
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert said in (capsys.readouterr().err + str(ended.value.code)).replace("\n", " ")
    assert ended.value.code not in (0, None)


def test_a_start_without_its_environment_is_reported(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(start, "ours", lambda *_: 1.0)
    sides, told = chosen_sides(["torch-fused"]), []
    where = (tmp_path, tmp_path)
    page, failed = start.measure(WORKLOADS["W1"], sides, {"torch": None}, *where, repeats=1, epochs=1, say=told.append)
    assert failed == ["PyTorch, tensors and fused Adam"]
    assert "| PyTorch, tensors and fused Adam | failed: there is no environment 'torch'" in page
    assert any("bench.py setup torch" in text for text in told)
