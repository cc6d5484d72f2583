"""What a sweep prints: its plan, and its best trial at the end."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigtrain.sweep.results import Sweep

TOLD_FAILURES = 3
RETRY = " sweep.retry=true"


def plan(name: str, keys: Sequence[str], trials: int, *, as_json: bool) -> None:
    """What `--dry-run` says."""
    if as_json:
        sys.stdout.write(json.dumps({"sweep": name, "keys": keys, "first_round": trials}) + "\n")
        return
    sys.stdout.write(f"dry run: {name} over {', '.join(keys)}: {trials} trials in the first round; ")
    sys.stdout.write("each config is fine; nothing was trained and nothing was written\n")


def result(found: Sweep, *, as_json: bool, score: str = "last") -> None:
    """The best trial, and where everything is."""
    from bigtrain.cli.report import scores
    from bigtrain.sweep.job import DIVERGED, SURE_TO_FAIL
    from bigtrain.sweep.trial import best

    counts = Counter(trial.shown for trial in found.trials)
    winner = best(found.trials, found.objectives[0])
    names = [item.name for item in found.objectives]
    if as_json:
        facts: dict[str, Any] = {"sweep_dir": str(found.directory), "trials": dict(counts), "best": None}
        if winner is not None and winner.last is not None:
            facts["best"] = {"trial": winner.number, "values": dict(winner.values)}
            facts["best"] |= {"scores": dict(zip(names, winner.last, strict=True))}
            facts["best"] |= {"run_dir": str(found.directory / winner.directory)}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    lines = [("trials", ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "none")]
    if winner is not None and winner.last is not None:
        lines.append(("best", f"trial {winner.number}: {scores(dict(zip(names, winner.last, strict=True)))}"))
        lines.append(("", "  ".join(f"{key}={value}" for key, value in winner.values.items())))
    elif any(trial.shown in ("resting", "waiting") and trial.last is not None for trial in found.trials):
        lines.append(("best", "none yet: no trial has trained to its end"))
    failed = [trial for trial in found.trials if trial.state == "failed"]
    lines += [("failed", f"trial {trial.number}: {trial.error}") for trial in failed[:TOLD_FAILURES]]
    if (lost := next((trial for trial in failed if trial.error == DIVERGED), None)) is not None:
        directory = shlex.quote(str(found.directory / lost.directory))
        lines.append(("why", f"bigtrain fit run_dir={directory}{found.flags} names the step"))
    if len(failed) > TOLD_FAILURES:
        lines.append(("", f"and {len(failed) - TOLD_FAILURES} more: see results.csv"))
    if any(trial.error and not trial.error.endswith(SURE_TO_FAIL) for trial in failed):
        lines.append(("retry", f"{found.command.removesuffix(RETRY)}{RETRY}"))
    lines.append(("files", f"{found.directory}: report.html results.csv trials/"))
    if winner is not None:
        trust = "".join(f" --trust {name}" for name in found.flags.split(" --trust ")[1:])
        which = " --checkpoint best" if score == "best" else ""
        directory = shlex.quote(str(found.directory / winner.directory))
        lines.append(("next", f"bigtrain evaluate {directory}{which}{trust}"))
        lines.append(("again", found.repeat(winner)))
        if winner.parent is not None:
            lines.append(("", f"note: trial {winner.number} went on from the state of trial {winner.parent}:"))
            lines.append(("", "this trains its values from the start, which needn't come to the same"))
    for name, text in lines:
        sys.stdout.write(f"{name:<10}  {text}\n")
