"""The script that tries searches on real training: what it reads, and what it takes for good."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import check_searches
from check_searches import Found

RESULTS = """\
trial,state,optimizer.learning_rate,model.widths,loss,steps,run_dir,error
0,done,0.1,"[8,8]",0.5,540,trials/0,
1,pruned,0.2,"[8,8]",0.1,20,trials/1,
2,failed,0.3,"[8,8]",,7,trials/2,"diverged, at step 7"
3,done,0.4,"[8,8]",0.4,540,trials/3,
"""


def test_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(RESULTS)
    assert Found.read(tmp_path / "results.csv") == Found(lowest=0.4, steps=1107, trials=4)


@pytest.mark.parametrize(
    ("loss", "steps", "fine"), [(0.4, 400, True), (0.402, 400, True), (0.41, 400, False), (0.4, 401, False)]
)
def test_hyperband_has_to_be_near_and_cheap(loss: float, steps: int, fine: bool, monkeypatch: Any) -> None:
    found = {"sweep=grid": Found(0.4, 1000, 36), "sweep=hyperband": Found(loss, steps, 36)}
    monkeypatch.setattr(check_searches, "sweep", lambda folder, search, *rest: found[search])
    assert check_searches.hyperband(Path(), [0, 1]) is fine


@pytest.mark.parametrize(("loss", "fine"), [(0.39, True), (0.4, False), (0.5, False)])
def test_tpe_has_to_be_better(loss: float, fine: bool, monkeypatch: Any) -> None:
    found = {"sweep=random": Found(0.4, 1000, 24), "sweep=tpe": Found(loss, 1000, 24)}
    monkeypatch.setattr(check_searches, "sweep", lambda folder, search, *rest: found[search])
    assert check_searches.tpe(Path(), [0]) is fine
