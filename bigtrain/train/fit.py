"""A whole run: restore or start, train with everything a user wants beside it, score, and write down the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bigtrain.checkpoint import Checkpoints
from bigtrain.config.build import build
from bigtrain.config.check import Checked
from bigtrain.config.trust import Trust
from bigtrain.data.serialize import spec_to_json
from bigtrain.parallel import distributed
from bigtrain.run import environment, pictures
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.run.history import History, read_lines
from bigtrain.run.lock import held
from bigtrain.tasks.task import Generative
from bigtrain.tracking.logger import Logger
from bigtrain.train import hooks, interrupt
from bigtrain.train.corpus import writes
from bigtrain.train.early_stopping import EarlyStopping, has_ended
from bigtrain.train.evaluate import Scorer
from bigtrain.train.finish import finish, times, writer
from bigtrain.train.loop import train
from bigtrain.train.pace import AgreedPace, Pace
from bigtrain.train.prepare import Prepared
from bigtrain.train.profile import Profile
from bigtrain.train.provenance import provenance
from bigtrain.train.rest import Rest
from bigtrain.train.resume import Start, begin
from bigtrain.train.show import SHOWN, Drawing, ShowImages, ShowText, ShowWritten
from bigtrain.train.when import When

if TYPE_CHECKING:  # it arrives as an object: training names no tracker
    from bigtrain.tracking.console import Console


def fit(
    ready: Prepared,
    checked: Checked,
    trusted: Trust,
    directory: RunDirectory,
    console: Console,
    clock: Clock,
    *,
    listener: interrupt.Requests | None = None,
    curves: bool = True,
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
        curves: whether to draw curves.png.

    Raises:
        InputError: when another trainer has the directory, or nothing in it can be gone on from.
    """
    with held(directory.path):
        return _fit(ready, checked, trusted, directory, console, clock, listener, curves)


def _fit(
    ready: Prepared,
    checked: Checked,
    trusted: Trust,
    directory: RunDirectory,
    console: Console,
    clock: Clock,
    listener: interrupt.Requests | None,
    curves: bool,
) -> dict[str, Any]:
    peers = distributed.current()
    peers.barrier("compiled")  # gloo gives up on a process that comes 30 s late to their first computation
    numbers = ready.program.numbers(ready.values)
    lines, found = directory.path / "metrics.jsonl", environment.describe()
    every = ready.lengths.keep_every
    checkpoints = Checkpoints(directory.checkpoints, ready.run.checkpoint, keep_every=every, beside=[lines])
    peers.remember(lambda: resumable(checkpoints))
    start = begin(ready, checkpoints, numbers, console.say)
    directory.write("environment.json", json.dumps(found, indent=1))
    directory.write("spec.json", spec_to_json(ready.dataset.spec))
    made = provenance(ready, directory.config(), found, start.data)
    with ExitStack() as closing:  # in reverse order, each whatever happens to the others
        requested = listener or closing.enter_context(interrupt.requests(start.step))
        loggers = open_loggers(checked, trusted, directory, start.step, closing)
        closing.callback(saved, checkpoints, clock)
        closing.callback(console.close)
        history = History(read_lines(lines))
        watching = [*loggers, console, history]
        parts = assemble(ready, start, numbers, checkpoints, watching, console, directory, requested, clock, made)
        parts += traced(ready, start.step, directory, console, clock, closing)
        console.begin(start.step, ready.lengths.steps)
        decided = has_ended(start.waiting, ready.run.early_stopping)  # and was killed before its scores were written
        ended = decided and (directory.result() or {}).get("steps") != start.step
        rested = start.step >= ready.lengths.stop  # and is told to rest where it does already
        position = {"start": start.step, "steps": start.step if ended or rested else ready.lengths.steps}
        position |= {"pace": paced(ready), "clock": clock}
        with clock.part("step"):
            feeds = requested.gated(ready.placement)
            state = train(ready.program, feeds, parts, start.state, numbers, **position)
        with clock.part("logging"):
            closing.close()
            if peers.leader and curves:
                pictures.curves(directory.path / "curves.png", history.lines)
    if (rests := resting(ready, checkpoints, int(state.step))) is not None:
        return {"run_dir": str(directory.path), **rests, **times(clock)}
    result = finish(ready, state, numbers, checkpoints, directory, clock, start.step)
    for note in result.get("notes", ()):
        console.say(f"note: {note}", style="yellow")
    return result


def paced(ready: Prepared) -> Pace | AgreedPace:
    """How long the dispatches of a run are."""
    on_cpu = ready.rules.mesh.devices.flat[0].platform == "cpu"
    own = Pace(ready.placement.capacity, fixed=ready.run.steps_per_dispatch != "auto", together=on_cpu)
    peers = distributed.current()
    return AgreedPace(own, peers.shared) if peers.count > 1 and not own.fixed else own


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
    span, traces = (ready.lengths.profile, step, ready.lengths.steps), distributed.current().leader
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


def open_loggers(
    checked: Checked, trusted: Trust, directory: RunDirectory, step: int, closing: ExitStack
) -> list[Logger]:
    """The run's loggers, each closed with `closing`; one that continues a run is told from which step.

    Of several processes, process 0 has them all.
    """
    loggers: list[Logger] = []
    if not distributed.current().leader:
        return loggers
    for node in checked.loggers.values():
        loggers.append(build(node, trusted, directory=directory.path, resumed=step or None))
        closing.callback(loggers[-1].close)
    return loggers


def assemble(
    ready: Prepared,
    start: Start,
    numbers: Any,
    checkpoints: Checkpoints,
    loggers: Sequence[Logger],
    console: Console,
    directory: RunDirectory,
    requested: interrupt.Requests,
    clock: Clock,
    made: Mapping[str, Any],
) -> list[hooks.Hook]:
    """The hooks of a run, in the order they act."""
    lengths, run = ready.lengths, ready.run
    log = hooks.Log(lengths.log_every, loggers, run.batch_size, lengths.steps_per_epoch, clock)
    log.window.sums.update({name: list(pair) for name, pair in start.window.items()})
    scores: dict[int, dict[str, float]] = {}
    parts: list[hooks.Hook] = [hooks.Progress(lengths.steps, console.advance), log]
    when = When(lengths.save_every, lengths.keep_every, run.checkpoint.minutes, lengths.log_every, lengths.steps)
    save = hooks.Save(when, checkpoints, scores, log, dict(start.waiting), {"data": start.data, "made": dict(made)})
    validation, scorer = ready.dataset.splits.get("validation"), None
    if validation is not None:
        scorer = Scorer(ready.program, ready.batching, validation, numbers)
        parts.append(hooks.Evaluate(lengths.eval_every, scorer, loggers, scores, log))
        watched = (run.early_stopping, run.checkpoint.monitor, checkpoints.mode)
        parts.append(EarlyStopping(lengths.eval_every, *watched, scores, save.save, save.waiting))
    show = shown(ready, directory, console)
    if show is not None:
        parts.append(hooks.Show(lengths.eval_every, show, log))
    if run.checkpoint.best:
        parts.append(hooks.SaveBest(lengths.eval_every, save))
    if lengths.stop < lengths.steps:
        parts.append(Rest(lengths.stop, scorer, scores, save.save, log.settle))
    return [*parts, save, hooks.Interrupt(lengths.steps, requested, save.save)]


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
