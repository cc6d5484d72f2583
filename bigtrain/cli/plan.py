"""`bigtrain plan`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigtrain.cli.fit import understood
from bigtrain.config.errors import BigtrainError, ConfigError, RunError
from bigtrain.plan.advice import DoesNotFit
from bigtrain.plan.hardware import Hardware, parse
from bigtrain.plan.published import published
from bigtrain.plan.searched import keys_of
from bigtrain.plan.topology import environment

WORKER = "bigtrain.cli.plan_worker"
TOLD = 12  # lines of a failed process that are shown


def run(
    overrides: Sequence[str],
    *,
    search: str | None,
    as_json: bool,
    config_dir: Path | None,
    trust: Sequence[str],
) -> None:
    """Checks the config, compiles it in a process of its own, and prints the plan.

    A process of its own, because the compilers of hardware that isn't there want their environment set before JAX is
    imported, and because what they leave behind must not stay.
    """
    hardware, given = _hardware(overrides)
    typed, source = published(given)
    _, checked, _ = understood(typed, config_dir, trust)
    chosen = _of(hardware, checked.run.mesh.simulate)
    keys = keys_of(search) if search is not None else []
    asked = {
        "overrides": typed, "hardware": chosen.name, "source": source, "search": keys, "trust": list(trust),
        "config_dir": str(config_dir) if config_dir else None,
    }  # fmt: skip
    answer = _asked(asked, chosen)
    if as_json:
        sys.stdout.write(json.dumps(answer["json"]) + "\n")
    else:
        sys.stdout.write(answer["page"])
    if answer["refused"]:
        sys.stdout.flush()
        raise DoesNotFit(answer["refused"])


def _hardware(overrides: Sequence[str]) -> tuple[Hardware | None, list[str]]:
    """The hardware that is named among the overrides, and the others."""
    named = [text for text in overrides if text.startswith("hardware=")]
    if len(named) > 1:
        raise ConfigError("hardware", f"{' and '.join(named)} are two; a plan is for one")
    found = parse(named[0].removeprefix("hardware=")) if named else None
    return found, [text for text in overrides if text not in named]


def _of(hardware: Hardware | None, simulate: int | None) -> Hardware:
    """What the plan is for: this machine's CPU if nothing is named."""
    if hardware is None:
        return parse(f"cpu-{simulate}" if simulate else "cpu")
    if simulate is not None and (hardware.chip.platform != "cpu" or hardware.count not in (1, simulate)):
        hint = f"leave one of them out: hardware={hardware.name} has {hardware.count}"
        raise ConfigError("mesh.simulate", f"{simulate} simulated devices, and hardware is named too", hint=hint)
    return parse(f"cpu-{simulate}") if simulate is not None else hardware


def _asked(asked: Mapping[str, Any], hardware: Hardware) -> dict[str, Any]:
    """The answer of the planning process."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as told:
        done = subprocess.run(
            [sys.executable, "-P", "-m", WORKER],
            input=json.dumps(asked),
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            env={**os.environ, **environment(hardware), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
        told.seek(0)
        said = told.read().splitlines()
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise _failed(done.returncode, said) from None
    if "error" in answer:
        raise _Answered(answer["error"], answer["code"])
    return answer


class _Answered(BigtrainError):
    """The error that the planning process answered with."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code


def _failed(code: int, said: Sequence[str]) -> RunError:
    """What is said of a planning process that ended without an answer."""
    if code == -9:
        return RunError("the planning process was killed, probably for its memory: close something, or plan less")
    last = "\n".join(f"  {line}" for line in said[-TOLD:])
    return RunError(f"the planning process ended with code {code}:\n{last}")
