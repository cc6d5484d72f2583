"""`bigtrain runs list` and `bigtrain runs best`."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigtrain.cli.columns import ALWAYS, Column, render, terminal_width
from bigtrain.config import groups
from bigtrain.config.compose import parse
from bigtrain.config.errors import ConfigError, InputError, did_you_mean
from bigtrain.config.overrides import key_of
from bigtrain.config.trust import BUILTIN
from bigtrain.run.found import FoundRun, find
from bigtrain.run.monitor import mode_of

OWN = ("run_dir", "distributed", "stop_at")
"""What each run has for itself: no difference between two."""


def list_runs(directory: Path, *, sort: str | None, metrics: Sequence[str], as_json: bool) -> None:
    """Prints a line a run."""
    runs = found(directory)
    asked = [named(metric, runs) for metric in metrics]
    runs = ordered(runs, sort) if sort else runs
    keys = differing(runs)
    if as_json:
        facts = [_facts(run, keys) for run in runs]
        sys.stdout.write(json.dumps({"runs": facts, "differing": keys}) + "\n")
        return
    watched = {run.monitor for run in runs if run.broken is None}
    columns = [
        Column("run", [place(run, directory) for run in runs], worth=ALWAYS),
        Column("state", [state(run) for run in runs], worth=ALWAYS),
        *(Column(titles(keys)[key], [value(run, key) for run in runs], worth=2) for key in keys),
        *(scored(name, runs, worth=3 if asked or name in watched else 1) for name in asked or usual(runs)),
        Column("changed", [_when(run.changed) for run in runs]),
    ]
    text, left = render(columns, terminal_width())
    sys.stdout.write(text)
    if left:
        print(f"no room for: {', '.join(left)}; --json has all", file=sys.stderr)
    tell_broken(runs, directory)


def best_run(directory: Path, *, metric: str | None, mode: str, as_json: bool) -> None:
    """Prints the best run, its score, and the command that repeats it."""
    if mode not in ("auto", "min", "max"):
        raise ConfigError("--mode", f"{mode!r} is none", allowed="auto, min, max")
    runs = [run for run in found(directory) if run.broken is None]
    name = named(metric, runs) if metric else _monitor(runs)
    better = mode_of(name, _own_mode(runs) if mode == "auto" and {run.monitor for run in runs} == {name} else mode)
    scored_runs = [run for run in runs if name in run.scores]
    finished = [run for run in scored_runs if run.finished]
    if not scored_runs:
        raise _no_metric(name, runs)
    sign = 1 if better == "min" else -1
    chosen = min(finished or scored_runs, key=lambda run: sign * run.scores[name])
    command = repeat(chosen)
    if as_json:
        facts = {"run_dir": str(chosen.path), "metric": name, "mode": better, "score": chosen.scores[name]}
        facts |= {"finished": chosen.finished, "runs": len(finished or scored_runs), "command": command}
        sys.stdout.write(json.dumps({**facts, "overrides": again(chosen), "notes": notes(chosen)}) + "\n")
        return
    number, name_of = len(finished or scored_runs), "run" if finished else "unfinished run"
    of = f"the {'smallest' if better == 'min' else 'largest'} of {number} {name_of}{'s' * (number != 1)}"
    sys.stdout.write(f"run     {printable(str(chosen.path))}\n")
    sys.stdout.write(f"score   {name} {chosen.scores[name]:.6g}, {of}\n")
    if command is not None:
        sys.stdout.write(f"repeat  {printable(command)}\n")
    for text in notes(chosen):
        sys.stdout.write(f"note    {printable(text)}\n")
    if finished and len(finished) < len(scored_runs):
        print(f"unfinished runs were not compared: {len(scored_runs) - len(finished)}", file=sys.stderr)


def found(directory: Path) -> list[FoundRun]:
    """The runs of a folder; an error where there is none."""
    runs = find(directory)
    if not runs:
        raise InputError(f"{str(directory)!r}: holds no runs\n  bigtrain fit makes one; it prints the path as 'run'")
    return runs


def named(metric: str, runs: Sequence[FoundRun], option: str = "--metric", more: Sequence[str] = ()) -> str:
    """A metric as the runs know it: `loss` is `validation/loss`.

    Args:
        metric: what was typed.
        runs: whose metrics are known.
        option: where it was typed.
        more: what that option takes besides.
    """
    known = [*more, *sorted({name for run in runs for name in run.scores})]
    for name in (metric, f"validation/{metric}"):
        if name in known:
            return name
    hint = did_you_mean(metric, known)
    raise ConfigError(option, f"no run has {metric!r}", allowed=known or "(no run has a score yet)", hint=hint)


def ordered(runs: Sequence[FoundRun], sort: str) -> list[FoundRun]:
    """By a metric, the best first, or by `changed`, the newest first; runs without it come last."""
    if sort == "changed":
        return sorted(runs, key=lambda run: -run.changed)
    name = named(sort, runs, "--sort", ["changed"])
    sign = 1 if mode_of(name) == "min" else -1
    return sorted(runs, key=lambda run: (name not in run.scores, sign * run.scores.get(name, 0.0)))


def differing(runs: Sequence[FoundRun]) -> list[str]:
    """The keys of the config in which the runs differ, in the order of the config."""
    whole = [run.config for run in runs if run.broken is None]
    keys = dict.fromkeys(key for config in whole for key in config)
    absent = object()
    return [
        key
        for key in keys
        if key.split(".")[0] not in OWN and len({repr(config.get(key, absent)) for config in whole}) > 1
    ]


def titles(keys: Sequence[str]) -> dict[str, str]:
    """The last name of each key, where no other has the same; a component by its group."""
    short = {key: key.removesuffix("._target_").rsplit(".", 1)[-1] for key in keys}
    counts = [*short.values()]
    return {key: printable(name if counts.count(name) == 1 else key) for key, name in short.items()}


def value(run: FoundRun, key: str) -> str:
    """A value of the config, short enough for a column."""
    if run.broken is not None or key not in run.config:
        return "-"
    item = run.config[key]
    text = str(item).lower() if isinstance(item, bool) else "null" if item is None else str(item)
    text = text.rsplit(".", 1)[-1] if key.endswith("_target_") else text
    text = printable(text)
    return text if len(text) <= 24 else f"{text[:11]}…{text[-12:]}"


def usual(runs: Sequence[FoundRun]) -> list[str]:
    """The scores that are shown if none is asked for: what the runs watch, then the accuracy, of both splits."""
    watched = list(dict.fromkeys(run.monitor.split("/", 1)[1] for run in runs if run.broken is None))
    names = [
        f"{split}/{name}" for name in dict.fromkeys([*watched, "loss", "accuracy"]) for split in ("validation", "test")
    ]
    return [name for name in names if any(name in run.scores for run in runs)]


def scored(name: str, runs: Sequence[FoundRun], *, worth: int = 0) -> Column:
    """The column of a metric."""
    cells = [_score(name, run.scores[name]) if name in run.scores else "-" for run in runs]
    return Column(printable(name), cells, right=True, worth=worth)


def _score(name: str, number: float) -> str:
    if "/" not in name:  # parameters, seconds
        return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"
    return f"{number:.4f}" if number == 0 or 1e-3 <= abs(number) < 1e5 else f"{number:.4g}"


def state(run: FoundRun) -> str:
    """Finished, how far it is, or broken."""
    if run.broken is not None:
        return "broken"
    if run.finished:
        return (
            "finished" if run.steps in (str(run.step), "") or not run.steps.isdecimal() else f"stopped at {run.step:,}"
        )
    return f"step {run.step:,}/{printable(run.steps)}"


def place(run: FoundRun, directory: Path) -> str:
    """A run directory as seen from the folder that was searched."""
    relative = os.path.relpath(run.path, directory)
    return printable(directory.name or str(directory) if relative == "." else relative)


def again(run: FoundRun) -> list[str]:
    """What was typed for a run, but for the directory it was written to."""
    return [text for text in run.overrides or () if key_of(text).split(".")[0] not in OWN]


def repeat(run: FoundRun) -> str | None:
    """The command that trains the same once more; None where what was typed isn't known."""
    return None if run.overrides is None else " ".join(["bigtrain fit", shlex.join(again(run))]).rstrip()


def notes(run: FoundRun) -> list[str]:
    """What there is to know of the command that repeats a run, a line each."""
    if run.overrides is None:
        return ["overrides.json is missing or no list: what was typed is not known"]
    found = []
    if run.parent:
        found.append(f"it went on from the state of {run.parent}: this trains its values from the start")
    available = groups.groups(groups.search_dirs())
    given = [parse(text) for text in again(run)]
    own = [item for item in given if item is not None and item.key in available and isinstance(item.value, str)]
    strange = [f"{item.key}={item.value}" for item in own if item.value not in available[item.key]]
    if strange:
        found.append(f"add --config-dir FOLDER, the one that has {', '.join(strange)}")
    roots = {str(target).split(".")[0] for key, target in run.config.items() if key.endswith("_target_")}
    others = sorted(name for name in roots - {*BUILTIN, *sys.stdlib_module_names} if name.isidentifier())
    if others and not any(key_of(text) == "plugins" for text in again(run)):
        found.append(f"if the code is yours, add {' '.join(f'--trust {name}' for name in others)}")
    return found


def tell_broken(runs: Sequence[FoundRun], directory: Path) -> None:
    """Why runs are broken, a line each."""
    for run in runs:
        if run.broken is not None:
            print(f"broken: {place(run, directory)}: {printable(run.broken)}", file=sys.stderr)


def printable(text: str) -> str:
    """Without the characters that a terminal would act on."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _monitor(runs: Sequence[FoundRun]) -> str:
    watched = list(dict.fromkeys(run.monitor for run in runs))
    if len(watched) > 1:
        raise ConfigError("--metric", "the runs watch different metrics", allowed=watched, hint="say which one decides")
    return watched[0] if watched else "validation/loss"


def _own_mode(runs: Sequence[FoundRun]) -> str:
    """What the runs' own configs say of their metric, where they agree."""
    modes = {str(run.config.get("checkpoint.mode", "auto")) for run in runs}
    only = modes.pop() if len(modes) == 1 else "auto"
    return only if only in ("min", "max") else "auto"


def _no_metric(name: str, runs: Sequence[FoundRun]) -> InputError:
    known = sorted({name for run in runs for name in run.scores})
    return ConfigError("--metric", f"no run has {name!r}", allowed=known or "(no run has a score yet)")


def _facts(run: FoundRun, keys: Sequence[str]) -> dict[str, Any]:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.changed)) if run.changed else None
    differs: Mapping[str, Any] = {key: run.config[key] for key in keys if key in run.config}
    status = "broken" if run.broken is not None else "finished" if run.finished else "unfinished"
    facts = {"run_dir": str(run.path), "state": status, "step": run.step, "steps": run.steps or None, "config": differs}
    return {**facts, "scores": dict(run.scores), "changed": when, "error": run.broken}


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "-"
