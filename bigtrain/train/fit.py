"""A whole run: restore or start, train with everything a user wants beside it, score, and write down the result."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import jax

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.build import build
from bigtrain.config.check import Checked
from bigtrain.config.errors import RunError
from bigtrain.config.trust import Trust
from bigtrain.data.serialize import spec_to_json
from bigtrain.parallel import distributed
from bigtrain.parallel.watchdog import watched
from bigtrain.run import environment, pictures
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.run.fatal import not_fatal
from bigtrain.run.history import History, read_lines
from bigtrain.tasks.task import Generative
from bigtrain.tracking.logger import Logger, Tolerant
from bigtrain.train import hooks, interrupt
from bigtrain.train.check_finite import CheckFinite
from bigtrain.train.corpus import Writer, installed, writes
from bigtrain.train.early_stopping import EarlyStopping, has_ended
from bigtrain.train.evaluate import Scorer
from bigtrain.train.finite import Diverged
from bigtrain.train.loop import train
from bigtrain.train.pace import AgreedPace, Pace, pace_of
from bigtrain.train.prepare import Prepared
from bigtrain.train.profile import Profile
from bigtrain.train.recover import Recovery, Rollback, left_out, moved_on
from bigtrain.train.rescue import Rescue
from bigtrain.train.show import SHOWN, Drawing, ShowImages, ShowText, ShowWritten
from bigtrain.train.skips import Skips, TooManySkips
from bigtrain.train.speed import speed, times
from bigtrain.train.state import TrainState

if TYPE_CHECKING:  # it arrives as an object: training names no tracker
    from bigtrain.tracking.console import Console


@dataclass(frozen=True)
class Start:
    """Where a run begins: a state, its step, and the log window that was in flight."""

    state: TrainState
    step: int
    window: dict[str, list[float]]
    waiting: dict[str, Any]  # what early stopping has counted
    skips: dict[str, Any] = field(default_factory=dict)  # the steps that were left out
    rollbacks: list[Rollback] = field(default_factory=list)  # where the run has gone back


@dataclass(frozen=True)
class Beside:
    """What goes with a run from its first attempt to its last."""

    checked: Checked
    trusted: Trust
    directory: RunDirectory
    console: Console
    clock: Clock
    requested: interrupt.Requests
    check: CheckFinite


def fit(
    ready: Prepared, checked: Checked, trusted: Trust, directory: RunDirectory, console: Console, clock: Clock
) -> dict[str, Any]:
    """Trains to the last step and returns the result: scores by split, steps, seconds, and where everything is."""
    peers = distributed.current()
    peers.barrier("compiled")  # gloo gives up on a process that comes 30 s late to their first computation
    numbers = ready.program.numbers(ready.values)
    checkpoints = Checkpoints(directory.checkpoints, ready.run.checkpoint)
    peers.remember(lambda: resumable(checkpoints))
    start = begin(ready, checkpoints, numbers)
    begun, check = start.step, CheckFinite(ready.lengths.steps)
    directory.write("environment.json", json.dumps(environment.describe(), indent=1))
    directory.write("spec.json", spec_to_json(ready.dataset.spec))
    recovery = Recovery(
        ready, checkpoints, numbers, directory, lambda: begin(ready, checkpoints, numbers).state, console.say
    )
    with watched(ready.run.watchdog, lambda: f"in {clock.now!r} after step {check.good:,}", directory.path):
        with interrupt.requests(begun) as requested:
            beside = Beside(checked, trusted, directory, console, clock, requested, check)
            for turn in itertools.count():
                try:
                    state = attempt(ready, start, numbers, checkpoints, beside, pace_of(ready, turn))
                    break
                except (Diverged, TooManySkips) as failure:
                    failed = failure.with_traceback(None)  # its frames hold the state that broke
                rollbacks = recovery.answer(failed, check.good, start.rollbacks)
                start = dataclasses.replace(begin(ready, checkpoints, numbers), rollbacks=rollbacks)
        result = finish(ready, state, numbers, checkpoints, directory, clock, begun)
    for note in result.get("notes", ()):
        console.say(f"note: {note}", style="yellow")
    return result


def attempt(
    ready: Prepared, start: Start, numbers: Any, checkpoints: Checkpoints, beside: Beside, pace: Pace | AgreedPace
) -> TrainState:
    """Trains from where a run begins, or has gone back to, until its end; returns the final state.

    Raises:
        Diverged: when a number is not finite any more, perhaps some steps late.
        TooManySkips: when too many steps in a row were left out.
    """
    console, clock, directory, lengths = beside.console, beside.clock, beside.directory, ready.lengths
    peers, placement = distributed.current(), moved_on(ready.placement, start.rollbacks)
    beside.check.begin(start.step)
    with ExitStack() as closing:  # in reverse order, each whatever happens to the others
        loggers = open_loggers(beside.checked, beside.trusted, directory, start.step, closing, console.say)
        closing.callback(saved, checkpoints, clock)
        closing.callback(console.close)
        history = History(read_lines(directory.path / "metrics.jsonl"))
        parts, rescue = assemble(ready, start, numbers, checkpoints, [*loggers, console, history], beside)
        if lengths.profile:
            span = (lengths.profile, start.step, lengths.steps)
            tracing = Profile.of(*span, directory.path / "profile", clock, console.say, traces=peers.leader)
            if tracing is not None:
                parts.append(tracing)
                closing.callback(tracing.close)
        console.begin(start.step, lengths.steps)
        decided = has_ended(start.waiting, ready.run.early_stopping)  # and was killed before its scores were written
        ended = decided and (directory.result() or {}).get("steps") != start.step
        position = {"start": start.step, "steps": start.step if ended else lengths.steps}
        with clock.part("step"), rescue.on_failure():
            state = train(
                ready.program, beside.requested.gated(placement), parts, start.state, numbers, pace=pace, clock=clock,
                **position,
            )  # fmt: skip
        with clock.part("logging"):
            closing.close()
            if peers.leader:
                with not_fatal("curves.png", console.say):
                    pictures.curves(directory.path / "curves.png", history.lines)
    return state


def resumable(checkpoints: Checkpoints) -> str:
    """What a run that ends here has kept."""
    steps = checkpoints.complete()
    kept = f"checkpoints up to step {steps[-1]:,} are complete" if steps else "no checkpoint was complete yet"
    return f"{kept}; type the same command again to go on"


def saved(checkpoints: Checkpoints, clock: Clock) -> None:
    """Waits until the last checkpoint is on disk."""
    with clock.part("checkpoint"):
        checkpoints.close()


def open_loggers(
    checked: Checked, trusted: Trust, directory: RunDirectory, step: int, closing: ExitStack, say: Callable[..., None]
) -> list[Logger]:
    """The run's loggers, each closed with `closing`; one that continues a run is told from which step.

    Of several processes, process 0 has them all.
    """
    loggers: list[Logger] = []
    if not distributed.current().leader:
        return loggers
    for name, node in checked.loggers.items():
        made = build(node, trusted, directory=directory.path, resumed=step or None)
        loggers.append(Tolerant(made, name, partial(say, style="yellow")))
        closing.callback(loggers[-1].close)
    return loggers


def begin(ready: Prepared, checkpoints: Checkpoints, numbers: Any) -> Start:
    """The newest checkpoint, or a fresh state."""
    steps = checkpoints.steps()
    if not steps:
        return Start(ready.program.init(numbers), 0, {}, {})
    meta = checkpoints.meta(steps[-1])
    fields = checkpoints.restore(steps[-1], ready.program.abstract.as_dict())
    window, waiting, skips = (meta.get(name) or {} for name in ("window", "early_stopping", "skips"))
    return Start(TrainState(**fields), steps[-1], window, waiting, skips, meta.get("rollbacks") or [])


def assemble(
    ready: Prepared, start: Start, numbers: Any, checkpoints: Checkpoints, loggers: Sequence[Logger], beside: Beside
) -> tuple[list[hooks.Hook], Rescue]:
    """The hooks of a run, in the order they act, and the one of them that saves what can be saved in a failure."""
    lengths, run, console = ready.lengths, ready.run, beside.console
    log = hooks.Log(lengths.log_every, loggers, run.batch_size, lengths.steps_per_epoch, beside.clock)
    log.window.sums.update({name: list(pair) for name, pair in start.window.items()})
    log.window.skips = Skips.of(run.nonfinite_limit, start.skips, counts=ready.program.definition.refuses)
    scores: dict[int, dict[str, float]] = {}
    parts: list[hooks.Hook] = [] if run.on_nonfinite == "skip" else [beside.check]
    parts += [hooks.Progress(lengths.steps, console.advance), log]
    save = hooks.Save(lengths.save_every, checkpoints, scores, log, dict(start.waiting), start.rollbacks)
    rescue = Rescue(lengths.steps, save.save, console.say)
    validation = ready.dataset.splits.get("validation")
    if validation is not None:
        scorer = Scorer(ready.program, ready.batching, validation, numbers)
        parts.append(hooks.Evaluate(lengths.eval_every, scorer, loggers, scores, log))
        monitored = (run.early_stopping, run.checkpoint.monitor, checkpoints.mode)
        parts.append(EarlyStopping(lengths.eval_every, *monitored, scores, save.save, save.waiting))
    show = shown(ready, beside.directory, console)
    if show is not None:
        parts.append(hooks.Show(lengths.eval_every, show, log, console.say))
    if run.checkpoint.best:
        parts.append(hooks.SaveBest(lengths.eval_every, save))
    return [*parts, save, rescue, hooks.Interrupt(lengths.steps, beside.requested, save.save)], rescue


def shown(ready: Prepared, directory: RunDirectory, console: Console) -> ShowText | ShowImages | ShowWritten | None:
    """What makes the samples of the run visible; None for a model that makes none."""
    made, spec = ready.program.definition, ready.dataset.spec
    task = made.make_task(ready.values)
    if writes(task):
        return ShowWritten(writer(ready, SHOWN), ready.dataset, directory.path / "answers", console.say)
    if not isinstance(task, Generative) or not (spec.vocabulary or pictures.drawable(spec.inputs.shape)):
        return None
    fields = {field: ready.values[f"model.{field}"] for field in ready.program.recipe.fields}
    whole = ready.rules.sharding() if distributed.current().count > 1 else None
    drawing = Drawing(made, ready.program.recipe, task, fields, ready.run.seed, whole)
    folder = directory.path / "samples"
    return ShowText(drawing, folder, console.say) if spec.vocabulary else ShowImages(drawing, ready.dataset, folder)


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
    with clock.part("evaluation"):
        scores, notes = final_scores(ready, state, numbers)
    best, step = checkpoints.best(), int(state.step)
    stopped = None
    if step < ready.lengths.steps:
        waited = checkpoints.meta(step)["early_stopping"]["evaluations"]
        stopped = {"step": step, "of": ready.lengths.steps, "evaluations": waited}
    notes += left_out(checkpoints.meta(step))
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


def final_scores(ready: Prepared, state: TrainState, numbers: Any) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The means of every split but the training one, those of written texts among them, and what to say of them."""
    scores = {
        split: Scorer(ready.program, ready.batching, source, numbers)(state)
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
