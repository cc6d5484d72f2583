"""A whole run: restore or start, train with everything a user wants beside it, score, and write down the result."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.build import build
from bigtrain.config.check import Checked
from bigtrain.config.trust import Trust
from bigtrain.data.serialize import spec_to_json
from bigtrain.parallel import distributed
from bigtrain.parallel.watchdog import watched
from bigtrain.run import environment, pictures
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.run.fatal import not_fatal
from bigtrain.run.history import History, read_lines
from bigtrain.run.lock import held
from bigtrain.tasks.task import Generative
from bigtrain.tracking.logger import Logger, Tolerant
from bigtrain.train import hooks, interrupt
from bigtrain.train.check_finite import CheckFinite
from bigtrain.train.corpus import writes
from bigtrain.train.early_stopping import EarlyStopping, has_ended
from bigtrain.train.evaluate import Scorer
from bigtrain.train.finish import finish, times, writer
from bigtrain.train.finite import Diverged
from bigtrain.train.log import Log
from bigtrain.train.loop import train
from bigtrain.train.pace import AgreedPace, Pace
from bigtrain.train.prepare import Prepared
from bigtrain.train.profile import Profile
from bigtrain.train.provenance import provenance, tell_changes
from bigtrain.train.recover import Recovery, moved_on
from bigtrain.train.rescue import Rescue
from bigtrain.train.rest import Rest
from bigtrain.train.resume import Start, begin
from bigtrain.train.save_best import SaveBest
from bigtrain.train.show import SHOWN, Drawing, ShowImages, ShowText, ShowWritten
from bigtrain.train.skips import Skips, TooManySkips
from bigtrain.train.state import TrainState
from bigtrain.train.when import When

if TYPE_CHECKING:  # it arrives as an object: training names no tracker
    from bigtrain.tracking.console import Console


LOGGED_SECONDS = 1.0  # the lines of a run that is one of many are written together, so many seconds late or less


@dataclass(frozen=True)
class Beside:
    """What goes with a run from its first attempt to its last."""

    checked: Checked
    trusted: Trust
    directory: RunDirectory
    console: Console
    clock: Clock
    check: CheckFinite
    alone: bool = True
    requested: interrupt.Requests = field(default_factory=interrupt.Requests)  # until somebody listens, nobody asks
    config: Mapping[str, Any] | None = None
    made: Mapping[str, Any] = field(default_factory=dict)  # what the state comes from, kept with each checkpoint


def fit(
    ready: Prepared,
    checked: Checked,
    trusted: Trust,
    directory: RunDirectory,
    console: Console,
    clock: Clock,
    *,
    listener: interrupt.Requests | None = None,
    alone: bool = True,
    explains: bool = True,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains to the last step and returns the result: scores by split, steps, seconds, and where everything is.

    Args:
        ready: the compiled run.
        checked: its config.
        trusted: whose code it may build.
        directory: where everything goes.
        console: shows the progress.
        clock: charges the time.
        listener: asks the run to end; by default, a signal to this process does.
        alone: whether the run is by itself: one of many draws no curves.png, and holds its best state until it saves.
        explains: whether to find out which step it was, and what of it, when a number is not finite.
        config: what `directory.config()` gives, where that is known.

    Raises:
        InputError: when another trainer has the directory, or nothing in it can be gone on from.
    """
    beside = Beside(checked, trusted, directory, console, clock, CheckFinite(ready.lengths.steps), alone, config=config)
    with held(directory.path):
        return _fit(ready, beside, listener, explains=explains)


def _fit(ready: Prepared, beside: Beside, listener: interrupt.Requests | None, *, explains: bool) -> dict[str, Any]:
    directory, console, clock, check = beside.directory, beside.console, beside.clock, beside.check
    peers = distributed.current()
    peers.barrier("compiled")  # gloo gives up on a process that comes 30 s late to their first computation
    numbers = ready.program.numbers(ready.values)
    lines = [directory.path / "metrics.jsonl", directory.path / "metrics.csv"]
    found = environment.describe()
    every = ready.lengths.keep_every
    checkpoints = Checkpoints(directory.checkpoints, ready.run.checkpoint, keep_every=every, beside=lines)
    peers.remember(lambda: resumable(checkpoints))
    start = begin(ready, checkpoints, numbers, console.say)
    begun = start.step
    directory.write("environment.json", json.dumps({**found, "xla_options": dict(ready.program.options)}, indent=1))
    directory.write("spec.json", spec_to_json(ready.dataset.spec))
    config = directory.config() if beside.config is None else beside.config
    made = provenance(ready, config, found, start.data)
    tell_changes(start, made, console.say)
    again = partial(begin, ready, checkpoints, numbers, console.say)

    def restored() -> tuple[TrainState, int]:
        newest = again()
        return newest.state, newest.step

    recovery = Recovery(ready, checkpoints, numbers, directory, restored, console.say, explains=explains)
    with watched(ready.run.watchdog, lambda: f"in {clock.now!r} after step {check.good:,}", directory.path):
        with nullcontext(listener) if listener is not None else interrupt.requests(begun) as requested:
            beside = dataclasses.replace(beside, requested=requested, made=made)
            for turn in itertools.count():
                try:
                    state = attempt(ready, start, numbers, checkpoints, beside, paced(ready, turn))
                    break
                except (Diverged, TooManySkips) as failure:
                    failed = failure.with_traceback(None)  # its frames hold the state that broke
                rollbacks = recovery.answer(failed, check.good, start.rollbacks)
                start = dataclasses.replace(again(), rollbacks=rollbacks)
        if (rests := resting(ready, checkpoints, int(state.step))) is not None:
            return {"run_dir": str(directory.path), **rests, **times(clock)}
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
    beside.check.begin(start.step)
    checkpoints.expect(start.state.as_dict())
    with ExitStack() as closing:  # in reverse order, each whatever happens to the others
        loggers = open_loggers(beside, start.step, closing)
        closing.callback(saved, checkpoints, clock)
        closing.callback(console.close)
        history = History(read_lines(directory.path / "metrics.jsonl") if beside.alone else ())
        kept = [history] if beside.alone else []
        parts, rescue = assemble(ready, start, numbers, checkpoints, [*loggers, console, *kept], beside)
        parts += traced(ready, start.step, directory, console, clock, closing)
        console.begin(start.step, lengths.steps)
        decided = has_ended(start.waiting, ready.run.early_stopping)  # and was killed before its scores were written
        ended = decided and (directory.result() or {}).get("steps") != start.step
        rested = start.step >= lengths.stop  # and is told to rest where it does already
        position = {"start": start.step, "steps": start.step if ended or rested else lengths.steps}
        if draws := beside.alone and distributed.current().leader:
            pictures.load_meanwhile()
        with clock.part("step"), rescue.on_failure():
            feeds = beside.requested.gated(moved_on(ready.placement, start.rollbacks))
            state = train(ready.program, feeds, parts, start.state, numbers, pace=pace, clock=clock, **position)
        with clock.part("logging"):
            closing.close()
            if draws:
                with not_fatal("curves.png", console.say, whatever=True):
                    pictures.curves(directory.path / "curves.png", history.lines)
    return state


def paced(ready: Prepared, turn: int = 0) -> Pace | AgreedPace:
    """How long the dispatches of a run are; after it has gone back, processes agree on that anew: `turn` counts."""
    platform = ready.rules.mesh.devices.flat[0].platform
    own = Pace.of(platform, ready.placement.capacity, fixed=ready.run.steps_per_dispatch != "auto")
    peers = distributed.current()
    if peers.count == 1 or own.fixed:
        return own
    # threads that plan ahead have asked more often in one process than in another when the last attempt ended
    return AgreedPace(own, lambda name, *given: peers.shared(f"{name}/{turn}", *given))


def resting(ready: Prepared, checkpoints: Checkpoints, step: int) -> dict[str, Any] | None:
    """What a run reports that rests at this step; None where it has ended, at its last step or by early stopping."""
    if step != ready.lengths.stop or step == ready.lengths.steps:
        return None
    meta = checkpoints.meta(step)
    if has_ended(meta.get("early_stopping") or {}, ready.run.early_stopping):
        return None
    return {"steps": step, "rests": {"step": step, "of": ready.lengths.steps}, "validation": meta["scores"]}


def traced(
    ready: Prepared, step: int, directory: RunDirectory, console: Console, clock: Clock, closing: ExitStack
) -> list[hooks.Hook]:
    """The hook that records a trace of some steps, where one is asked for; it is closed with `closing`."""
    if not ready.lengths.profile:
        return []
    span, traces = (ready.lengths.profile, step, ready.lengths.stop), distributed.current().leader
    tracing = Profile.of(*span, directory.path / "profile", clock, console.say, traces=traces)
    if tracing is None:
        return []
    closing.callback(tracing.close)
    return [tracing]


def resumable(checkpoints: Checkpoints) -> str:
    """What a run that ends here has kept."""
    steps = checkpoints.complete()
    kept = f"checkpoints up to step {steps[-1]:,} are complete" if steps else "no checkpoint was complete yet"
    return f"{kept}; type the same command again to go on"


def saved(checkpoints: Checkpoints, clock: Clock) -> None:
    """Waits until the last checkpoint is on disk."""
    with clock.part("checkpoint"):
        checkpoints.close()


def open_loggers(beside: Beside, step: int, closing: ExitStack) -> list[Logger]:
    """The run's loggers, each closed with `closing`; one that continues a run is told from which step.

    Of several processes, process 0 has them all.
    """
    loggers: list[Logger] = []
    if not distributed.current().leader:
        return loggers
    for name, node in beside.checked.loggers.items():
        made = build(node, beside.trusted, directory=beside.directory.path, resumed=step or None)
        say = partial(beside.console.say, style="yellow")
        loggers.append(Tolerant(made, name, say, 0.0 if beside.alone else LOGGED_SECONDS))
        closing.callback(loggers[-1].close)
    return loggers


def assemble(
    ready: Prepared, start: Start, numbers: Any, checkpoints: Checkpoints, loggers: Sequence[Logger], beside: Beside
) -> tuple[list[hooks.Hook], Rescue]:
    """The hooks of a run, in the order they act, and the one of them that saves what can be saved in a failure."""
    lengths, run, say = ready.lengths, ready.run, beside.console.say
    log = Log(lengths.log_every, loggers, run.batch_size, lengths.steps_per_epoch, beside.clock)
    log.window.sums.update({name: list(pair) for name, pair in start.window.items()})
    log.window.skips = Skips.of(run.nonfinite_limit, start.skips, counts=ready.program.definition.refuses)
    scores: dict[int, dict[str, float]] = {}
    parts: list[hooks.Hook] = [] if run.on_nonfinite == "skip" else [beside.check]
    parts += [hooks.Progress(lengths.steps, beside.console.advance), log]
    minutes, last = run.checkpoint.minutes, lengths.steps
    when = When(lengths.save_every, lengths.keep_every, minutes, lengths.log_every, last, apart=lengths.save_apart)
    facts = {"data": start.data, "made": dict(beside.made)}
    save = hooks.Save(when, checkpoints, scores, log, dict(start.waiting), start.rollbacks, facts)
    rescue = Rescue(lengths.steps, save.save, say)
    validation, scorer = ready.dataset.splits.get("validation"), None
    if validation is not None:
        scorer = Scorer(ready.program, ready.batching, validation, numbers, ready.once)
        parts.append(hooks.Evaluate(lengths.eval_every, scorer, loggers, scores, log))
        monitored = (run.early_stopping, run.checkpoint.monitor, checkpoints.mode)
        parts.append(EarlyStopping(lengths.eval_every, *monitored, scores, save.save, save.waiting))
    show = shown(ready, beside.directory, beside.console)
    if show is not None:
        parts.append(hooks.Show(lengths.eval_every, show, log, say))
    if run.checkpoint.best:
        parts.append(SaveBest(lengths.eval_every, save, holds=not beside.alone))
    if lengths.stop < lengths.steps:
        parts.append(Rest(lengths.stop, scorer, scores, save.save, log.settle))
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
