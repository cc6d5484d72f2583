"""Augmentation inside whole runs: what must be equal, what must not change, and what compiles nothing."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from support import final_state, interrupted_at, losses_of, metrics_of, prepared, run_fit, state_hash

from bigtrain.cli.fit import understood
from bigtrain.config.errors import InputError
from bigtrain.run.directory import differences
from bigtrain.train import cache
from bigtrain.train.evaluate import Scorer
from bigtrain.train.hooks import Interrupted

ALL = ("augment=[flip,crop,rotate,erase,noise,mixup]", "augment.crop.padding=2", "augment.erase.size=3")
SHORT = ("model.widths=[16]", "steps=12", "batch_size=16", "log_every=1", "eval_every=6", "checkpoint.every=6")


def test_sharded_equals_unsharded(tmp_path: Path) -> None:
    run_fit(tmp_path / "one", *ALL, *SHORT)
    run_fit(tmp_path / "eight", *ALL, *SHORT, "mesh=data", "mesh.data=8")
    np.testing.assert_allclose(losses_of(tmp_path / "eight"), losses_of(tmp_path / "one"), rtol=1e-5)


def test_accumulated_equals_whole(tmp_path: Path) -> None:
    chosen = ("augment=[flip,cutmix]", *SHORT)
    run_fit(tmp_path / "whole", *chosen)
    run_fit(tmp_path / "pieces", *chosen, "accumulate=4")
    np.testing.assert_allclose(losses_of(tmp_path / "pieces"), losses_of(tmp_path / "whole"), rtol=1e-5)


def test_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = (*ALL, *SHORT, "steps_per_dispatch=1")
    run_fit(tmp_path / "whole", *chosen)
    with interrupted_at(monkeypatch, 5), pytest.raises(Interrupted):
        run_fit(tmp_path / "cut", *chosen)
    run_fit(tmp_path / "cut", *chosen)
    whole, cut = (final_state(tmp_path / name, *chosen) for name in ("whole", "cut"))
    assert state_hash(cut) == state_hash(whole)
    assert metrics_of(tmp_path / "cut") == metrics_of(tmp_path / "whole")


def test_it_changes_training_and_leaves_evaluation_alone() -> None:
    plain, _, _ = prepared(*SHORT)
    changed, _, _ = prepared(*SHORT, *ALL)
    scores = []
    for ready in (plain, changed):
        numbers = ready.program.numbers(ready.values)
        state = ready.program.init(numbers)
        score = Scorer(ready.program, ready.batching, ready.dataset.splits["validation"], numbers)(state)
        [(_, feed)] = ready.placement.feeds([_first()])
        _, metrics = ready.program.advance(state, feed, 1, numbers)
        scores.append((score, float(jax.device_get(metrics["loss"].total)[0])))
    assert scores[0][0] == scores[1][0]
    assert scores[0][1] != scores[1][1]


def _first() -> object:
    from bigtrain.data.placement import Dispatch

    return Dispatch(0, 1)


def test_another_probability_finds_every_program_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    base = (*SHORT, "augment=[flip,noise]")
    prepared(*base)
    before = cache.COUNT.copy()
    ready, _, _ = prepared(*base, "augment.flip.probability=0.9", "augment.noise.deviation=0.3")
    assert cache.COUNT.since(before).misses == 0
    assert ready.values["augment.flip.probability"] == 0.9
    assert ready.values["augment.noise.deviation"] == 0.3
    prepared(*base, "augment.flip.direction=vertical")
    assert cache.COUNT.since(before).misses > 0


def test_they_are_applied_in_the_order_given() -> None:
    orders = [tuple(understood([f"augment=[{text}]"], None, [])[1].augment) for text in ("crop,flip", "flip,crop")]
    assert orders == [("crop", "flip"), ("flip", "crop")]
    config = {"steps": 3, "augment": {"crop": {"padding": 1}, "flip": {"probability": 0.5}}}
    other = {"steps": 3, "augment": dict(reversed(config["augment"].items()))}  # type: ignore[attr-defined]
    assert differences(config, config) == []
    assert differences(config, other) == [("augment", ["crop", "flip"], ["flip", "crop"])]


def test_another_order_is_another_run(tmp_path: Path) -> None:
    tiny = (*SHORT, "steps=2", "eval_every=2")
    run_fit(tmp_path / "run", *tiny, "augment=[flip,noise]")
    with pytest.raises(InputError, match=r"augment: \['flip', 'noise'\] there, \['noise', 'flip'\] here"):
        run_fit(tmp_path / "run", *tiny, "augment=[noise,flip]")
