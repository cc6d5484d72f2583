"""`bigtrain predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bigtrain.data.serialize import spec_from_json
from bigtrain.run.directory import RunDirectory


def run(path: Path, source: Path, target: Path, *, checkpoint: str, as_json: bool, trust: Sequence[str]) -> None:
    """Reads inputs, applies the model, writes what it says."""
    directory = RunDirectory.find(path)
    spec = spec_from_json(directory.read("spec.json"), directory.path / "spec.json")
    from bigtrain.inference.inputs import read_inputs
    from bigtrain.inference.predict import check_output, predict, write

    check_output(target)
    batch = read_inputs(source, spec)
    from bigtrain.inference.load import load

    trained = load(path, checkpoint=checkpoint, trust=trust)
    found = predict(trained, batch)
    write(target, found, spec)
    number = len(batch["inputs"])
    if as_json:
        facts = {"output": str(target), "examples": number, "arrays": {k: list(v.shape) for k, v in found.items()}}
        sys.stdout.write(json.dumps({**facts, "checkpoint": trained.checkpoint}) + "\n")
    else:
        sys.stdout.write(f"{number:,} examples -> {target}: {', '.join(found)}\n")
