"""Numbers enter the program as arguments: changing one compiles nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest
from support import prepared, run_fit

from bigtrain.train import cache

BASE = ("steps=6", "batch_size=16", "eval_every=3", "log_every=2", "checkpoint.every=3", "model.dropout=0.1")


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The programs that XLA is asked for inside the block, from the cache or not."""
    seen: list[str] = []
    active = True

    def listen(event: str, duration: float, **labels: object) -> None:
        if active and event == "/jax/core/compile/backend_compile_duration":
            seen.append(str(labels.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    active = False


def test_each_program_of_a_run_is_compiled_once(tmp_path: Path) -> None:
    with compilations() as seen:
        run_fit(tmp_path / "run", *BASE)
    for name in ("advance", "evaluate", "init"):
        assert seen.count(f"jit({name})") == 1, (name, seen)


@pytest.mark.parametrize(
    "change",
    [
        "optimizer.learning_rate=0.5", "seed=7", "model.dropout=0.4", "steps=9", "schedule.warmup=3",
        "optimizer.b1=0.8",
    ],
)  # fmt: skip
def test_another_number_finds_every_program_in_the_cache(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base = (*BASE, "optimizer.b1=0.9", "model.widths=[24]")
    monkeypatch.setattr(cache, "LEAST_SECONDS", 0.0)
    prepared(*base)
    before = cache.COUNT.copy()
    prepared(*base, change)
    assert cache.COUNT.since(before).misses == 0


def test_another_shape_does_compile() -> None:
    prepared(*BASE, "model.widths=[24]")
    before = cache.COUNT.copy()
    prepared(*BASE, "model.widths=[25]")
    assert cache.COUNT.since(before).misses > 0


def test_the_numbers_of_a_run_are_known_by_their_paths() -> None:
    ready, _, _ = prepared(
        *BASE, "model=vae", "model.beta=2.0", "~model.dropout", "optimizer=adamw", "clip_norm=1.0", "ema=0.99"
    )
    assert set(ready.values) == {
        "seed", "total_steps", "clip_norm", "ema", "optimizer.learning_rate", "optimizer.weight_decay",
        "schedule.warmup", "model.beta",
    }  # fmt: skip
