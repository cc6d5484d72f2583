"""`bigtrain evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import SPLITS


def run(
    path: Path, overrides: Sequence[str], *, split: str, checkpoint: str, as_json: bool, trust: Sequence[str]
) -> None:
    """Scores one split of the run's data, and prints the scores."""
    if split not in SPLITS:
        raise ConfigError("--split", f"there is no split {split!r}", allowed=SPLITS)
    from bigtrain.data.load import load_data
    from bigtrain.inference.stored import read

    stored = read(path, checkpoint=checkpoint, overrides=overrides, trust=trust, scoring=True)
    dataset = load_data(stored.checked, stored.trusted, training=False)
    if split not in dataset.splits:
        raise ConfigError("--split", f"data {dataset.spec.name!r} has no {split} split", allowed=dataset.splits)
    from bigtrain.cli import report
    from bigtrain.inference.load import restore
    from bigtrain.inference.score import rules_for, score

    rules, elsewhere = rules_for(stored.checked.run.mesh, typed=any(text.startswith("mesh.") for text in overrides))
    trained = restore(stored, rules)
    from bigtrain.train.corpus import installed

    found, notes = installed(score(trained, dataset, split, rules))  # type: ignore[arg-type]
    for note in filter(None, [elsewhere, *notes]):
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        facts = {"run_dir": str(path), "split": split, "checkpoint": trained.checkpoint}
        sys.stdout.write(json.dumps({**found, **facts, "examples": len(dataset.splits[split])}) + "\n")  # type: ignore[index]
    else:
        sys.stdout.write(f"{split:<10}  {report.scores(found)}\n")
        print(f"checkpoint of step {trained.checkpoint:,}", file=sys.stderr)
