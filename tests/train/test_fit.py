"""A whole run: what it writes, how it ends, what it refuses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from support import losses_of, metrics_of, run_fit

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import RunError
from bigtrain.data.sampler import Order
from bigtrain.run import clock as clock_module
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.tracking.jsonl import JSONL
from bigtrain.train import hooks
from bigtrain.train.evaluate import Scorer
from bigtrain.train.program import Program
from bigtrain.train.state import TrainState
from bigtrain.train.when import When

SHORT = ("steps=12", "batch_size=16", "log_every=2", "eval_every=4", "checkpoint.every=6")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "run"
    run_fit(path, *SHORT)
    return path


def test_the_run_directory_has_what_the_readme_lists(run: Path) -> None:
    names = {
        "config.yaml", "overrides.json", "spec.json", "environment.json", "metrics.jsonl", "metrics.csv",
        "tensorboard", "checkpoints", "curves.png", "result.json", ".lock",
    }  # fmt: skip
    assert {entry.name for entry in run.iterdir()} == names
    assert run.stat().st_mode & 0o077 == 0
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["jax"]
    assert environment["devices"]


def test_the_metric_lines_are_due_steps_with_means_of_the_steps_between(run: Path, tmp_path: Path) -> None:
    lines = metrics_of(run)
    assert [line["step"] for line in lines if "train/loss" in line] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines if "validation/loss" in line] == [4, 8, 12]
    run_fit(tmp_path / "each", *SHORT, "log_every=1")
    np.testing.assert_allclose(losses_of(run), losses_of(tmp_path / "each").reshape(6, 2).mean(1), rtol=1e-6)


def test_the_result_is_the_last_evaluation_and_names_the_best(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    validation = {line["step"]: line for line in metrics_of(run) if "validation/loss" in line}
    assert result["validation"]["loss"] == pytest.approx(validation[12]["validation/loss"])
    losses = {step: line["validation/loss"] for step, line in validation.items()}
    assert result["best"]["step"] == min(losses, key=losses.__getitem__)


def test_a_diverging_run_stops_and_never_saves_what_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"diverged: the loss of step \d+ is not finite"):
        run_fit(tmp_path / "run", *SHORT, "steps=60", "optimizer=sgd", "optimizer.learning_rate=1e30")
    assert not (tmp_path / "run" / "result.json").exists()


def test_every_example_of_a_split_counts_once_whatever_the_batch(tmp_path: Path) -> None:
    scores = [run_fit(tmp_path / size, *SHORT, f"eval_batch_size={size}")["test"] for size in ("7", "64", "1000")]
    for other in scores[1:]:
        assert other["accuracy"] == pytest.approx(scores[0]["accuracy"], abs=1e-12)
        assert other["loss"] == pytest.approx(scores[0]["loss"], rel=1e-6)


def test_a_frozen_parameter_stays_and_the_average_is_what_is_evaluated(tmp_path: Path) -> None:
    from bigtrain.inference.load import load

    run_fit(tmp_path / "run", *SHORT, "freeze=[hidden.0.*]", "ema=0.5")
    run_fit(tmp_path / "one", *SHORT, "freeze=[hidden.0.*]", "ema=0.5", "steps=1")
    last, first = (load(tmp_path / name, checkpoint="last").state for name in ("run", "one"))
    np.testing.assert_array_equal(last.params["hidden.0.kernel"], first.params["hidden.0.kernel"])
    assert not np.array_equal(last.params["output.kernel"], first.params["output.kernel"])
    assert last.evaluated().params is last.ema


def test_a_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.train import interrupt

    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with interrupt.requests() as requested:
        os.kill(os.getpid(), signal.SIGTERM)
        assert requested() == signal.SIGTERM
        assert ended == []
        os.kill(os.getpid(), signal.SIGINT)
    assert ended == [130]


def test_a_finished_run_directory_is_not_taken_over_by_another_config(run: Path) -> None:
    before = (run / "config.yaml").read_text()
    from bigtrain.config.errors import InputError

    with pytest.raises(InputError, match=r"belongs to another config\n  seed: 0 there, 1 here"):
        run_fit(run, *SHORT, "seed=1")
    assert (run / "config.yaml").read_text() == before
    assert RunDirectory(run).result() is not None


@pytest.mark.parametrize(("evaluate", "save"), [(7, 10), (10, 7), (6, 9)])
def test_checkpoints_are_saved_when_they_are_due(evaluate: int, save: int, tmp_path: Path) -> None:
    periods = (f"eval_every={evaluate}", f"checkpoint.every={save}", "checkpoint.keep=99", "checkpoint.best=false")
    run_fit(tmp_path / "run", *SHORT, "steps=32", *periods)
    steps = RunDirectory(tmp_path / "run").saved()
    assert steps == [*range(save, 32, save), 32]


def test_a_state_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    """The loss of the last step may be fine while its update was not."""
    log = hooks.Log(1, [], 1, 1.0, Clock())
    save = hooks.Save(When(1), Checkpoints(tmp_path), {}, log)
    state = TrainState(jnp.int32(1), {"w": jnp.ones(2)}, {"mean": jnp.array([1.0, jnp.inf])}, {}, {})
    with pytest.raises(RunError, match="the training state of step 1 is not finite"):
        save.save(1, state)
    assert not list(tmp_path.iterdir())


def test_the_parts_of_the_time_sum_to_it(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    parts = result["seconds_by_part"]
    assert {"step", "data wait", "evaluation", "checkpoint", "logging", "start"} <= parts.keys()
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(result["seconds"], abs=1e-3)


def test_the_speed_is_what_was_trained_in_the_time_of_steps_and_data(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    speed, parts = result["speed"], result["seconds_by_part"]
    seconds = parts["step"] + parts["data wait"]
    assert speed["steps_per_second"] * seconds == pytest.approx(12, rel=0.1)
    assert speed["examples_per_second"] == pytest.approx(16 * speed["steps_per_second"])
    assert speed["flops_per_second"] == pytest.approx(speed["flops_per_step"] * speed["steps_per_second"])
    assert speed["mfu"] is None or 0 < speed["mfu"] <= 1


def test_time_is_charged_to_the_part_that_took_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only where the test lets it: in one part after the other, and is found again there alone."""
    now = [0.0]
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def slowly(call: Any) -> Any:
        def wrapped(*args: Any, **keywords: Any) -> Any:
            now[0] += 1.0
            return call(*args, **keywords)

        return wrapped

    for part, owner, name in (
        ("evaluation", Scorer, "__call__"), ("checkpoint", Checkpoints, "save"), ("step", Program, "advance"),
        ("logging", JSONL, "log"), ("data wait", Order, "batches"), ("start", Program, "init"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, slowly(getattr(owner, name)))
            result = run_fit(tmp_path / part, "steps=1", "batch_size=16", "logger=jsonl", "model.widths=[4]")
        assert {name for name, seconds in result["seconds_by_part"].items() if seconds} == {part}


def test_curves_do_not_depend_on_the_loggers(tmp_path: Path) -> None:
    run_fit(tmp_path / "run", *SHORT, "logger=csv")
    assert (tmp_path / "run" / "curves.png").is_file()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
