"""How many processes read the data may change whenever a run is continued: the batches are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import bigtrain
from support import final_state, metrics_of, state_hash

SMALL = ("model.widths=[8]", "batch_size=16", "steps=40", "eval_every=20", "log_every=5", "placement=stream", "ema=0.9")


@pytest.mark.long
def test_one_two_and_four_workers(tmp_path: Path) -> None:
    """Grain's processes, really started; the state is the same bit for bit, and so is every line."""
    assert bigtrain("fit", *SMALL, f"run_dir={tmp_path / 'whole'}").code == 0
    for stop, workers in (("10", 1), ("20", 2), ("null", 4)):
        run = ("fit", *SMALL, f"run_dir={tmp_path / 'changed'}", f"stop_at={stop}", f"data_workers={workers}")
        found = bigtrain(*run)
        assert found.code == 0, found.err
        assert f"{workers} worker process" in found.err
    lines = [
        [{key: value for key, value in line.items() if key != "examples_per_second"} for line in metrics_of(run)]
        for run in (tmp_path / "whole", tmp_path / "changed")
    ]
    assert lines[0] == lines[1]
    states = [state_hash(final_state(tmp_path / name, *SMALL)) for name in ("whole", "changed")]
    assert states[0] == states[1]
