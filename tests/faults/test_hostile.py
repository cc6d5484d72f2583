"""What a stranger sends is refused in one message: nothing of it is executed, nothing outside it is read or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from attack import SECRET, Attack, Place, problems
from hostile_runs import RUNS

ATTACKS = [*RUNS]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place.make(tmp_path)
    monkeypatch.chdir(made.work)
    monkeypatch.setenv("CANARY", SECRET)
    return made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_refused(attack: Attack, place: Place) -> None:
    assert not problems(attack, place)
