"""A sweep as it would lie on the disk, made up: nothing is trained."""

from __future__ import annotations

import json
import math
from pathlib import Path

from bigtrain.sweep.results import Sweep
from bigtrain.sweep.trial import Objective, Trial

LOSS = Objective("loss", "min")


def made_sweep(
    folder: Path,
    number: int = 12,
    *,
    objectives: tuple[Objective, ...] = (LOSS,),
    points: int = 30,
    lineage: bool = False,
) -> Sweep:
    """Trials over a rate and a seed; every fifth has failed and has no score, the last is running."""
    trials = []
    for at in range(number):
        failed, rate = at % 5 == 4, (1e-4, 1e-3, 1e-2)[at % 3]
        final = 0.1 + 0.2 * abs(math.log10(rate) + 3) + at / 3000
        write_metrics(folder / str(at), [final + 2 * math.exp(-8 * step / points) for step in range(points)])
        parent = at - 3 if lineage and at >= 3 else None
        trials.append(
            Trial(
                at,
                {"optimizer.learning_rate": repr(rate), "seed": str(at // 3)},
                str(at),
                state="failed" if failed else "running" if at == number - 1 else "done",
                parent=parent,
                scores={} if failed else {1.0: tuple(final * (1 + goal) for goal in range(len(objectives)))},
                steps=10 * points,
                seconds=1.5 * at,
                error="the loss is nan at step 40" if failed else None,
            )
        )
    keys = ("optimizer.learning_rate", "seed")
    return Sweep(
        folder, "bigtrain fit -m seed=range(4)", ("steps=300", "model.widths=[8]"), keys, objectives, tuple(trials)
    )


def write_metrics(directory: Path, losses: list[float]) -> None:
    """A metrics.jsonl with a training loss every ten steps, and a validation loss every hundred."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for at, loss in enumerate(losses):
        lines.append({"step": 10 * (at + 1), "train/loss": loss})
        if at % 10 == 9:
            lines.append({"step": 10 * (at + 1), "validation/loss": 1.1 * loss})
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
