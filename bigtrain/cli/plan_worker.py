"""The process that makes a plan: reads what is asked on stdin, and answers on stdout with one JSON object."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigtrain.cli.fit import flags, understood
from bigtrain.config.check import Checked
from bigtrain.config.errors import BigtrainError, jax_setting
from bigtrain.plan.hardware import parse


def main() -> None:
    """Answers; what libraries print goes to stderr."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    try:
        answer = answered(asked)
    except BigtrainError as error:
        answer = {"error": str(error), "code": error.exit_code}
    except Exception as error:  # whatever it is, the command that asked answers as `fit` would
        told = jax_setting(error)
        answer = {"error": str(told), "code": told.exit_code} if told else unexpected(error)
    answers.write(json.dumps(answer))
    answers.close()


def unexpected(error: Exception) -> dict[str, Any]:
    """What is said of an error that no message was written for."""
    if isinstance(error, OSError):
        return {"error": f"{error.filename or 'the plan'}: {error.strerror or error}", "code": 1}
    if isinstance(error, MemoryError):
        return {"error": "out of memory while planning: close something, or plan less", "code": 1}
    with tempfile.NamedTemporaryFile("w", prefix="bigtrain-", suffix=".log", delete=False) as file:
        traceback.print_exception(error, file=file)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    told = f"unexpected {type(error).__name__}: {first}"
    return {"error": f"{told}\n  a bug in bigtrain, or in what it calls; the details are in {file.name}", "code": 1}


def _end_with(parent: int) -> None:
    """Ends this process when the command that started it is gone: nobody waits for the answer then."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def answered(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The plan as JSON and as a page, and what is said if it doesn't fit."""
    config_dir = Path(asked["config_dir"]) if asked["config_dir"] else None

    def variant(changes: Sequence[str]) -> Checked:
        return understood([*asked["overrides"], *changes], config_dir, asked["trust"])[1]

    _, checked, trusted = understood(asked["overrides"], config_dir, asked["trust"])
    from bigtrain.data.load import load_data

    dataset = load_data(checked, trusted)
    from bigtrain.plan.planner import Planner
    from bigtrain.plan.report import page, refusal
    from bigtrain.plan.topology import devices_of

    target = devices_of(parse(asked["hardware"]))
    planner = Planner(variant, trusted, dataset, target, asked["source"])
    if asked["search"]:
        from bigtrain.plan.search import search

        return search(planner, asked["search"]).answer(asked["overrides"], flags(config_dir, asked["trust"]))
    made = planner.advised()
    refused = None if made.memory.fits else refusal(made)
    return {"json": made.to_json(), "page": page(made), "refused": refused}


if __name__ == "__main__":
    main()
