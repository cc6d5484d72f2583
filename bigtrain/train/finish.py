"""The end of a run: scores of the final state on every split, and the result with what it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.errors import RunError
from bigtrain.parallel import distributed
from bigtrain.parallel.peak import peak
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.train.cache import cache_dir
from bigtrain.train.corpus import Writer, installed, writes
from bigtrain.train.evaluate import Scorer
from bigtrain.train.prepare import Prepared
from bigtrain.train.recover import left_out
from bigtrain.train.state import TrainState


def writer(ready: Prepared, size: int) -> Writer:
    """What the run's model writes, in batches of `size`, or as many more as the devices share evenly."""
    ways = ready.rules.ways("batch")
    size = -(-size // ways) * ways
    return Writer(ready.program.definition, ready.program.recipe, ready.values, ready.rules, size)


def finish(
    ready: Prepared,
    state: TrainState,
    numbers: Any,
    checkpoints: Checkpoints,
    directory: RunDirectory,
    clock: Clock,
    begun: int,
) -> dict[str, Any]:
    """Scores the final state on every split but the training one, and writes result.json."""
    best, step = checkpoints.best(), int(state.step)
    meta = checkpoints.meta(step)
    with clock.part("evaluation"):
        known = {"validation": meta["scores"]} if meta.get("scores") else {}
        scores, notes = final_scores(ready, state, numbers, known)
    stopped = None
    if step < ready.lengths.steps:
        waited = meta["early_stopping"]["evaluations"]
        stopped = {"step": step, "of": ready.lengths.steps, "evaluations": waited}
    notes += left_out(meta)
    result = {
        "run_dir": str(directory.path),
        "steps": step,
        "stopped_early": stopped,
        **scores,
        "best": {"step": best.step, ready.run.checkpoint.monitor: best.score} if best else None,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "compile_seconds": round(ready.compile_seconds, 3),
        "speed": speed(ready, clock, step - begun),
        **times(clock),
        **({"notes": notes} if notes else {}),
    }
    try:
        directory.write("result.json", json.dumps(result, indent=1))
    except OSError as error:
        hint = "the last step is saved: make room, and type the same command again"
        raise RunError(f"{directory.path / 'result.json'}: {error.strerror or error}\n  {hint}") from error
    return result


def final_scores(
    ready: Prepared, state: TrainState, numbers: Any, known: Mapping[str, Mapping[str, float]] = MappingProxyType({})
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The means of every split but the training one, those of written texts among them, and what to say of them.

    Args:
        ready: the compiled run.
        state: the final state.
        numbers: the hyperparameters, on the devices.
        known: the means of splits on which this very state was evaluated already.
    """
    scores = {
        split: dict(known.get(split) or Scorer(ready.program, ready.batching, source, numbers, ready.once)(state))
        for split, source in ready.dataset.splits.items()
        if split != "train"
    }
    notes: list[str] = []
    if writes(ready.program.definition.make_task(ready.values)):
        written = writer(ready, ready.batching.batch_size)
        for split, means in scores.items():
            found, notes = installed(written.scores(state, ready.dataset.splits[split]))
            means |= found
    return scores, notes


def times(clock: Clock) -> dict[str, Any]:
    """The wall time of the command until now, and its parts."""
    spent = {name: round(seconds, 3) for name, seconds in clock.spent().items()}
    return {"seconds": round(sum(spent.values()), 3), "seconds_by_part": spent}


def speed(ready: Prepared, clock: Clock, steps: int) -> dict[str, Any] | None:
    """How fast `steps` steps were: operations counted in the traced program, and their share of the devices' peak.

    MFU as Chowdhery et al. 2022 define it, but with every operation of the step counted, the optimizer's too: what is
    computed again to save memory doesn't count.
    """
    spent = clock.spent()
    seconds = spent.get("step", 0.0) + spent.get("data wait", 0.0)
    if steps < 1 or seconds <= 0 or not distributed.current().leader:
        return None
    rate, run = ready.program.flops * steps / seconds, ready.run
    found: dict[str, Any] = {
        "steps_per_second": steps / seconds,
        "examples_per_second": steps * run.batch_size / seconds,
    }
    found |= {"flops_per_step": ready.program.flops, "flops_per_second": rate, "mfu": None}
    with clock.part("profile" if run.profile else "start"):
        devices, cache = ready.rules.mesh.devices.flat, cache_dir() / "peak.json"
        most = peak(devices, run.precision, cache, measure=run.profile, reached=rate)
    if most is not None:
        found |= {"mfu": rate / most.flops, "peak_flops": most.flops, "peak": most.source}
    return found
