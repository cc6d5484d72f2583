"""A run that rests and goes on is the run that never did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import bigtrain
from support import final_state, run_fit, state_hash

SMALL = ("model.widths=[8]", "steps=40", "eval_every=20", "log_every=7", "batch_size=16", "ema=0.9")


def lines(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without what depends on the clock."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "examples_per_second"} for line in found]


@pytest.mark.parametrize("at", [pytest.param("10", marks=pytest.mark.long), "50%", "33"])
def test_goes_on_as_if_it_had_never_stopped(tmp_path: Path, at: str) -> None:
    whole = run_fit(tmp_path / "whole", *SMALL)
    rested = run_fit(tmp_path / "rested", *SMALL, f"stop_at={at}")
    assert rested["rests"] == {"step": rested["steps"], "of": 40}
    assert rested["steps"] == {"10": 10, "50%": 20, "33": 33}[at]
    assert rested["validation"]["loss"] > 0
    assert not (tmp_path / "rested" / "result.json").exists()

    again = run_fit(tmp_path / "rested", *SMALL, f"stop_at={at}")
    assert (again["steps"], again["validation"]) == (rested["steps"], rested["validation"])

    result = run_fit(tmp_path / "rested", *SMALL)
    assert result["validation"] == whole["validation"]
    assert lines(tmp_path / "rested") == lines(tmp_path / "whole")
    states = [state_hash(final_state(tmp_path / name, *SMALL)) for name in ("rested", "whole")]
    assert states[0] == states[1]


def test_says_where_it_rests_and_how_to_go_on(tmp_path: Path) -> None:
    found = bigtrain("fit", *SMALL, "stop_at=10", f"run_dir={tmp_path / 'run'}")
    assert found.code == 0
    assert "rests       at step 10 of 40 (stop_at); everything is saved" in found.out
    assert f"bigtrain fit run_dir={tmp_path / 'run'} stop_at=null" in found.out
    assert bigtrain("fit", f"run_dir={tmp_path / 'run'}", "stop_at=null").code == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 40


def test_zero_steps_are_refused() -> None:
    found = bigtrain("fit", "stop_at=0")
    assert (found.code, found.err.splitlines()[0]) == (2, "error: stop_at: 0 is not allowed")
