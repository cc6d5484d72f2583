"""`bigtrain fit`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigtrain.config.check import Checked, check
from bigtrain.config.compose import Composed, compose, to_yaml
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust
from bigtrain.run.directory import RunDirectory

if TYPE_CHECKING:
    from bigtrain.tracking.console import Console
    from bigtrain.train.prepare import Prepared


def run(
    overrides: Sequence[str], *, cfg: bool, dry_run: bool, as_json: bool, config_dir: Path | None, trust: Sequence[str]
) -> None:
    """Composes, checks, compiles, trains, and prints the result."""
    composed, checked, trusted = understood(overrides, config_dir, trust)
    if cfg:
        sys.stdout.write(to_yaml(composed.written))
        return
    path = Path(checked.run.run_dir).expanduser()
    existing = RunDirectory(path) if RunDirectory.exists(path) else None
    if existing is not None and not dry_run:
        composed, checked, trusted = continued(existing, overrides, config_dir, trust)
    if existing is None:
        RunDirectory.check_new(path)
    _check_loggers(checked, trusted)

    from bigtrain.data.load import load_data

    dataset = load_data(checked, trusted)

    from bigtrain.cli import report
    from bigtrain.tracking.console import Console
    from bigtrain.train.prepare import converter, prepare

    console = Console()
    if existing is not None and not dry_run:
        steps = converter(checked.run, len(dataset.splits["train"]))[0].steps
        if _finished(existing, steps, console, as_json=as_json):
            return
    with console.waiting("compiling"):
        ready = prepare(checked, trusted, dataset)
    console.table(report.summary(ready, checked, path))
    if dry_run:
        report.dry_run(ready, as_json=as_json)
        return
    directory = existing or RunDirectory.create(path, to_yaml(composed.written), composed.overrides)
    _train(ready, checked, trusted, directory, console, as_json=as_json)


def understood(
    overrides: Sequence[str], config_dir: Path | None, trust: Sequence[str]
) -> tuple[Composed, Checked, Trust]:
    """The composed and checked config; without JAX."""
    composed = compose(overrides, config_dir)
    plugins = composed.resolved.get("plugins") or ()
    if isinstance(plugins, str) or not all(isinstance(name, str) for name in plugins):
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
    typed = {text.lstrip("+~").split("=")[0] for text in overrides}
    before = [text for text in existing.overrides() if text.lstrip("+~").split("=")[0] not in {*typed, "plugins"}]
    composed, checked, trusted = understood([*before, *overrides], config_dir, trust)
    existing.check_same(composed.written)
    return composed, checked, trusted


def _check_loggers(checked: Checked, trusted: Trust) -> None:
    from bigtrain.config.build import resolve

    for node in checked.loggers.values():
        resolve(node, trusted)


def _finished(existing: RunDirectory, steps: int, console: Console, *, as_json: bool) -> bool:
    """Answers for a run that has nothing left to do, and refuses to train one for fewer steps than it has done."""
    from bigtrain.checkpoint import Checkpoints
    from bigtrain.cli import report

    done = max(Checkpoints(existing.checkpoints).steps(), default=0)
    if done > steps:
        raise ConfigError("steps", f"{steps:,} is less than the {done:,} steps that {existing.path} has done")
    result = existing.result()
    if result is None or result.get("steps") != steps or done != steps:
        return False
    console.say(f"{existing.path} is finished: {done:,} steps. To train it further:", style="bold")
    console.say(f"  bigtrain fit run_dir={existing.path} steps={2 * done}")
    report.result(result, as_json=as_json)
    return True


def _train(
    ready: Prepared, checked: Checked, trusted: Trust, directory: RunDirectory, console: Console, *, as_json: bool
) -> None:
    from bigtrain.cli import report
    from bigtrain.train.fit import fit
    from bigtrain.train.hooks import Interrupted

    try:
        result = fit(ready, checked, trusted, directory, console)
    except Interrupted as stopped:
        console.say(f"stopped at step {stopped.step:,}; everything is saved. To go on:", style="bold")
        console.say(f"  bigtrain fit run_dir={directory.path}")
        raise SystemExit(128 + stopped.signal_number) from None
    report.result(result, as_json=as_json)
