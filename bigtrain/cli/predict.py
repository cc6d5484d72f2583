"""`bigtrain predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path


def run(path: Path, source: Path, target: Path, *, checkpoint: str, as_json: bool, trust: Sequence[str]) -> None:
    """Reads inputs, applies the model, writes what it says."""
    from bigtrain.inference.formats import check_output, write
    from bigtrain.inference.inputs import names_of, read_inputs
    from bigtrain.inference.readers import check_input
    from bigtrain.inference.stored import read

    check_output(target)
    check_input(source)
    stored = read(path, checkpoint=checkpoint, trust=trust)
    batch = read_inputs(source, stored.spec)
    from bigtrain.inference.load import restore
    from bigtrain.inference.predict import predict

    trained = restore(stored)
    found, names = predict(trained, batch), names_of(source, stored.spec)
    if names is not None:
        found = {**found, "name": names}
    found = write(target, found, stored.spec)
    number = len(batch["inputs"])
    if as_json:
        facts = {"output": str(target), "examples": number, "arrays": {k: list(v.shape) for k, v in found.items()}}
        sys.stdout.write(json.dumps({**facts, "checkpoint": trained.checkpoint}) + "\n")
    else:
        sys.stdout.write(f"{number:,} examples -> {target}: {', '.join(found)}\n")
