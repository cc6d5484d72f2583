"""`bigtrain fit`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.cli import is_out_of_memory
from bigtrain.config.check import Checked, check
from bigtrain.config.compose import Composed, compose, to_yaml
from bigtrain.config.errors import ConfigError, InputError, code_of
from bigtrain.config.overrides import key_of
from bigtrain.config.trust import Trust
from bigtrain.parallel import cluster, distributed
from bigtrain.parallel.alike import check_alike
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory, check_named
from bigtrain.run.lock import held

if TYPE_CHECKING:
    from bigtrain.data.spec import Dataset
    from bigtrain.tracking.console import Console
    from bigtrain.train.prepare import Prepared

_NOT_TAKEN_OVER = ("plugins", "data.url")
"""Stored overrides that count only when they are typed again: which code may run, and where data is fetched from."""


def run(
    overrides: Sequence[str],
    *,
    cfg: bool,
    dry_run: bool,
    as_json: bool,
    config_dir: Path | None,
    trust: Sequence[str],
    clock: Clock,
    holding: ExitStack,
) -> None:
    """Composes, checks, compiles, trains, and prints the result; `holding` holds the run directory while it is open."""
    composed, checked, trusted = understood(overrides, config_dir, trust)
    peers = distributed.current() if cfg else _joined(composed, checked)
    path = Path(peers.shared("run_dir", lambda: str(Path(checked.run.run_dir).expanduser())))
    there = peers.shared("existing", lambda: _existing(path, new=not (cfg or dry_run)))
    existing = RunDirectory.checked(path) if there else None
    if existing is not None:
        composed, checked, trusted = continued(existing, overrides, config_dir, trust)
    if cfg:
        if checked.run.distributed.num_processes == 1 or cluster.rank(overrides, os.environ) == 0:
            sys.stdout.write(to_yaml(composed.written))
        return
    check_loggers(checked, trusted)

    dataset = loaded(checked, trusted)

    from bigtrain.cli import report
    from bigtrain.tracking.console import Console
    from bigtrain.train.prepare import converter, prepare

    console, again = Console(quiet=not peers.leader), flags(config_dir, trust)
    if existing is not None and not dry_run:
        lengths = converter(checked.run, len(dataset.splits["train"]))[0]
        waits, steps = checked.run.early_stopping.patience, lengths.steps
        if peers.shared("finished", partial(_finished, existing, steps, waits, console, again, as_json=as_json)):
            return
        holding.enter_context(held(existing.path))
        _note_new_length(existing, checked, console)
    with console.waiting("compiling"):
        ready = _compiled(prepare, checked, trusted, dataset, overrides)
    if checked.run.plan.checks:
        from bigtrain.plan.check import check_memory

        typed = composed.overrides
        check_memory(ready, lambda more: understood([*typed, *more], config_dir, trust)[1], trusted, dataset, typed)
    clock.recharge("compile", ready.compile_seconds)
    directory = existing if existing is not None or dry_run else _created(path, composed, overrides, holding)
    console.table(report.summary(ready, checked, directory.path if directory else path))
    if dry_run or directory is None:
        if peers.leader:
            report.dry_run(ready, as_json=as_json)
        return
    directory.keep(to_yaml(composed.written), kept(composed.overrides))
    directory.check_seen()
    _train(ready, checked, trusted, directory, console, clock, again, as_json=as_json)


def _joined(composed: Composed, checked: Checked) -> distributed.Alone | distributed.Peers:
    """This process among the others of its run, once it is clear that all are of one run."""
    peers = distributed.start(checked.run.distributed)
    if peers.count > 1:
        check_alike(peers, composed.written)
    return peers


def _created(path: Path, composed: Composed, typed: Sequence[str], holding: ExitStack) -> RunDirectory:
    """A new run directory, made by process 0; with a number behind its name where it is taken and wasn't typed."""
    named, peers = any(key_of(text) == "run_dir" for text in typed), distributed.current()
    made = peers.shared("directory", lambda: str(RunDirectory.claimed(path, numbered=not named)))
    directory = RunDirectory(Path(made))
    holding.enter_context(held(directory.path))
    parts = (to_yaml(composed.written), kept(composed.overrides))
    peers.shared("begun", lambda: str(directory.begun(*parts).path))
    return directory


def _existing(path: Path, *, new: bool) -> bool:
    """Whether a run is there to be continued; where a new one is to be made, that must be possible."""
    if RunDirectory.exists(path):
        check_named("run_dir", path)
        return True
    if new:
        RunDirectory.check_new(path)
    return False


def loaded(checked: Checked, trusted: Trust) -> Dataset:
    """The data; where it may have to be fetched from the web, process 0 does that before the others look."""
    from bigtrain.data.load import load_data

    peers, fetches = distributed.current(), "url" in checked.nodes["data"].callee.parameters
    if fetches and not peers.leader:
        peers.barrier("fetched")
    dataset = load_data(checked, trusted)
    if fetches and peers.leader:
        peers.barrier("fetched")
    return dataset


def kept(overrides: Sequence[str]) -> list[str]:
    """What the run directory keeps of what was typed: not which of several processes this was."""
    return [text for text in overrides if not key_of(text).startswith("distributed.")]


def _compiled(prepare: Any, checked: Checked, trusted: Trust, dataset: Any, typed: Sequence[str]) -> Prepared:
    """The compiled run; the compiler of some accelerators refuses what doesn't fit."""
    try:
        ready: Prepared = prepare(checked, trusted, dataset)
    except (RuntimeError, MemoryError) as error:
        from bigtrain.plan.check import explained

        refused: Exception | None = explained(error, typed)
        if refused is None and is_out_of_memory(error):
            from bigtrain.plan.exhausted import while_compiling
            from bigtrain.train.prepare import definition

            refused = while_compiling(definition(checked, trusted, dataset).recipe()[1].params)
        if refused is None:
            raise
        raise refused from error
    return ready


def flags(config_dir: Path | None, trust: Sequence[str]) -> str:
    """The options that a later command on the same run has to repeat."""
    shown = [f" --config-dir {shlex.quote(str(config_dir))}"] if config_dir is not None else []
    return "".join([*shown, *(f" --trust {name}" for name in trust)])


def understood(
    overrides: Sequence[str], config_dir: Path | None, trust: Sequence[str]
) -> tuple[Composed, Checked, Trust]:
    """The composed and checked config; without JAX."""
    return checked_of(compose(overrides, config_dir), trust)


def checked_of(composed: Composed, trust: Sequence[str]) -> tuple[Composed, Checked, Trust]:
    """A composed config, checked, with whose code it may run."""
    plugins = composed.resolved.get("plugins") or ()
    if not isinstance(plugins, (list, tuple)) or not all(isinstance(name, str) for name in plugins):
        raise ConfigError("plugins", f"{plugins!r} is not allowed", allowed="a list of package names, e.g. [mypkg]")
    trusted = Trust.of(trust, plugins)
    return composed, check(composed.resolved, trusted), trusted


def continued(
    existing: RunDirectory, overrides: Sequence[str], config_dir: Path | None, trust: Sequence[str]
) -> tuple[Composed, Checked, Trust]:
    """The config of a run that is continued: what was typed at its start, and on top of it what is typed now.

    Refused when the result would train something else. The run's own `plugins` are dropped: a run directory may come
    from a stranger, and which code may run is decided at the keyboard.
    """
    typed = {key_of(text) for text in overrides}
    before = [text for text in kept(existing.overrides()) if key_of(text) not in {*typed, *_NOT_TAKEN_OVER}]
    if "mesh" in typed:  # the sizes that were typed belong to the mesh before; how many devices there are does not
        before = [text for text in before if not key_of(text).startswith("mesh.") or key_of(text) == "mesh.simulate"]
    for text in before:
        if "${" in text:
            hint = f"type it again: {key_of(text)}=…"
            raise ConfigError(
                key_of(text), f"{text!r} of {existing.path} is not expanded when a run is continued", hint=hint
            )
    try:
        composed, checked, trusted = understood([*before, *overrides], config_dir, trust)
    except ConfigError as error:
        missing = error.path in map(key_of, before) and error.problem.startswith(f"there is no {error.path} ")
        if config_dir is not None or not missing:
            raise
        hint = "add --config-dir FOLDER, the one that the run was begun with"
        raise ConfigError(error.path, error.problem, hint=hint) from error
    existing.check_same(composed.written)
    return composed, checked, trusted


def _note_new_length(existing: RunDirectory, checked: Checked, console: Console) -> None:
    """Says so when a longer run means another learning rate from here on."""
    before, now = existing.config().get("steps"), str(checked.run.duration("steps"))
    schedule = checked.nodes["schedule"].callee
    if str(before) != now and "total_steps" in schedule.parameters:
        name = schedule.target.rsplit(".", 1)[-1]
        console.say(f"note: the {name} schedule now spans {now} steps instead of {before}", style="yellow")


def check_loggers(checked: Checked, trusted: Trust) -> None:
    """Refuses a logger that can't be built, before anything starts."""
    from bigtrain.config.build import resolve

    for node in checked.loggers.values():
        resolve(node, trusted)


def _finished(
    existing: RunDirectory, steps: int, patience: int | None, console: Console, again: str, *, as_json: bool
) -> bool:
    """Answers for a run that has nothing left to do, and refuses to train one for fewer steps than it has done."""
    from bigtrain.checkpoint import Checkpoints

    done = max(Checkpoints(existing.checkpoints).complete(), default=0)  # process 0 alone is asked
    if done > steps:
        raise ConfigError("steps", f"{steps:,} is less than the {done:,} steps that {existing.path} has done")
    result = existing.result()
    if result is None or result.get("steps") != done:
        return False
    try:
        return _shown(existing, result, steps, patience, console, again, as_json=as_json)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # it isn't what a run of ours writes
        raise InputError(f"{existing.path / 'result.json'}: is no result of a run: {str(error)[:100]}") from error


def _shown(
    existing: RunDirectory, result: Mapping[str, Any], steps: int, patience: int | None, console: Console, again: str,
    *, as_json: bool,
) -> bool:  # fmt: skip
    """Prints the result of a run that is finished; False for one that stopped early and is now to wait longer."""
    done = result["steps"]
    how, more = f"{done:,} steps", f"steps={2 * done}"
    if done != steps:
        stopped = result.get("stopped_early") or {}
        if stopped.get("of") != steps or patience is None or stopped["evaluations"] < patience:
            return False
        waited = stopped["evaluations"] + patience
        how, more = f"it stopped early at step {done:,} of {steps:,}", f"early_stopping.patience={waited}"
    console.say(f"{existing.path} is finished: {how}. To train it further:", style="bold")
    console.say(f"  bigtrain fit run_dir={existing.path} {more}{again}")
    from bigtrain.cli import report

    report.result({**result, "run_dir": str(existing.path)}, as_json=as_json, again=again)
    return True


def _train(
    ready: Prepared,
    checked: Checked,
    trusted: Trust,
    directory: RunDirectory,
    console: Console,
    clock: Clock,
    again: str,
    *,
    as_json: bool,
) -> None:
    from bigtrain.cli import report
    from bigtrain.train.finish import times
    from bigtrain.train.fit import fit
    from bigtrain.train.hooks import Interrupted

    try:
        result = fit(ready, checked, trusted, directory, console, clock)
    except Interrupted as stopped:
        console.say(f"stopped at step {stopped.step:,}; everything is saved. To go on:", style="bold")
        console.say(f"  bigtrain fit run_dir={directory.path}{again}")
        console.say(f"time      {report.spent(times(clock))}")
        raise SystemExit(code_of(stopped.signal_number)) from None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        from bigtrain.plan.exhausted import while_running

        raise while_running(ready) from error
    if distributed.current().leader:
        report.result(result, as_json=as_json, again=again)
