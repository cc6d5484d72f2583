"""A worker: one framework in a process of its own, which does what it is told on its standard input.

Each line in is a JSON object with `do` and arguments; each line out is the answer. What a framework prints goes to
standard error instead.

| do | arguments | answer |
| --- | --- | --- |
| build | side module, workload, data folder, options | facts: versions, device |
| loss | steps, tail | mean loss of the last `tail` of `steps` updates from a fresh start |
| warm | | seconds a step, after everything is compiled and the best form or thread count is chosen |
| run | steps | seconds, the steps that were really done, and facts |
| epochs | number | trains whole epochs, each followed by an evaluation |
| peak | | greatest resident memory so far, in bytes |
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Protocol

from bench.catalog import WORKLOADS, Workload


class Trainer(Protocol):
    """What a side implements. Every method returns only when the device has finished."""

    def __init__(self, workload: Workload, data: Path, options: dict[str, Any]) -> None:
        """Imports the framework, reads the data and builds the model."""
        ...

    def facts(self) -> dict[str, Any]:
        """Versions and device."""
        ...

    def loss(self, steps: int, tail: int) -> float:
        """Trains a fresh model; the mean loss of the last steps."""
        ...

    def warm(self) -> float:
        """Compiles; returns the seconds a step takes, roughly."""
        ...

    def run(self, steps: int) -> tuple[float, int]:
        """Seconds, and the steps done."""
        ...

    def epochs(self, number: int) -> None:
        """Trains whole epochs with an evaluation after each."""
        ...


class Server:
    """Answers requests one by one."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; an error of the framework is an answer too."""
        begun = time.perf_counter()
        try:
            result = getattr(self, f"do_{request.pop('do')}")(**request)
        except BaseException as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        return {**result, "wall": time.perf_counter() - begun}

    def do_build(self, module: str, workload: str, data: str, options: dict[str, Any]) -> dict[str, Any]:
        """Makes the trainer."""
        kind = importlib.import_module(f"bench.sides.{module}").Trainer
        self.trainer = kind(WORKLOADS[workload], Path(data), options)
        return {"facts": self.trainer.facts()}

    def do_loss(self, steps: int, tail: int) -> dict[str, Any]:
        """Trains a fresh model."""
        return {"loss": float(self._made.loss(steps, tail))}

    def do_warm(self) -> dict[str, Any]:
        """Compiles."""
        return {"seconds_a_step": self._made.warm(), "facts": self._made.facts()}

    def do_run(self, steps: int) -> dict[str, Any]:
        """Times some steps."""
        seconds, done = self._made.run(steps)
        return {"seconds": seconds, "steps": done, "facts": self._made.facts()}

    def do_epochs(self, number: int) -> dict[str, Any]:
        """Trains whole epochs."""
        self._made.epochs(number)
        return {}

    def do_peak(self) -> dict[str, Any]:
        """Memory; `ru_maxrss` is in KiB on Linux and in bytes on macOS."""
        unit = 1 if sys.platform == "darwin" else 1024
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}

    @property
    def _made(self) -> Trainer:
        assert self.trainer is not None, "build comes first"
        return self.trainer


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a framework prints must not come between the answers
    server = Server()
    for line in sys.stdin:
        answers.write(json.dumps(server.answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
