"""The ledger: nothing is lost, nothing is run twice, and who is gone is told from who is at work."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bigtrain.config.errors import BigtrainError, InputError
from bigtrain.sweep.ledger import Ledger
from bigtrain.sweep.opening import opened, ordered
from bigtrain.sweep.space import parse_space
from bigtrain.sweep.trial import Proposal

FACTS = {"base": ["steps=10"], "keys": ["seed"], "objectives": ["loss"]}


def seeds(*values: int) -> list[Proposal]:
    return [Proposal({"seed": str(value)}) for value in values]


Open = Callable[..., Ledger]


@pytest.fixture
def again() -> Iterator[Open]:
    """Opens the ledger of a folder, as another process would; closed at the end."""
    made: list[Ledger] = []

    def make(folder: Path, *, retry: bool = False) -> Ledger:
        made.append(opened(folder, FACTS, retry=retry))
        return made[-1]

    yield make
    for ledger in made:
        ledger._lock.close()
        ledger._db.close()


@pytest.fixture
def ledger(tmp_path: Path, again: Open) -> Ledger:
    return again(tmp_path / "sweep")


def test_a_proposal_is_taken_up_once(ledger: Ledger) -> None:
    ledger.propose(seeds(3, 4))
    ledger.propose(seeds(3, 4, 5))
    assert [(trial.number, trial.values) for trial in ledger.trials()] == [
        (0, {"seed": "3"}), (1, {"seed": "4"}), (2, {"seed": "5"}),
    ]  # fmt: skip


def test_a_value_that_another_launch_writes_differently_is_the_same_trial(ledger: Ledger, again: Open) -> None:
    other = again(ledger.folder)
    ledger.propose([Proposal({"rate": "0.001", "seed": "1"}), Proposal({"rate": "0.01", "seed": "1"})])
    other.propose([Proposal({"seed": "1.0", "rate": "1e-3"}), Proposal({"seed": "1", "rate": "1.0e-2"})])
    assert [trial.values["rate"] for trial in other.trials()] == ["0.001", "0.01"]


def test_the_same_twice_in_a_round_is_two_trials(ledger: Ledger) -> None:
    ledger.propose(seeds(3, 3))
    ledger.propose(seeds(3, 3))
    assert len(ledger.trials()) == 2


def test_a_trial_is_claimed_by_one(ledger: Ledger, again: Open) -> None:
    other = again(ledger.folder)
    ledger.propose(seeds(1, 2, 3))
    assert [trial.number for trial in ledger.claim(2)] == [0, 1]
    assert [trial.number for trial in other.claim()] == [2]
    assert ledger.claim() == other.claim() == []


def test_what_a_dead_process_had_waits_again(ledger: Ledger, again: Open) -> None:
    other = again(ledger.folder)
    ledger.propose(seeds(1, 2))
    assert len(other.claim(1)) == 1
    assert [trial.number for trial in ledger.claim()] == [1]
    assert ledger.lives(other.owner)
    other._lock.close()  # as the system does when a process is killed
    assert not ledger.lives(other.owner)
    assert [trial.number for trial in ledger.claim()] == [0]


def test_an_outcome_is_kept_and_a_rest_goes_on(ledger: Ledger, again: Open) -> None:
    ledger.propose([Proposal({"seed": "1"}, until=1 / 3)])
    (trial,) = ledger.claim()
    ledger.record(dataclasses.replace(trial, state="done", scores={1 / 3: (0.1 + 0.2,)}, steps=3, seconds=1.5))
    ledger.propose([Proposal({"seed": "1"}, until=1.0, trial=0)])
    ledger.close()
    (found,) = again(ledger.folder).trials()
    assert (found.state, found.until, found.scores, found.steps) == ("waiting", 1.0, {1 / 3: (0.1 + 0.2,)}, 3)


def test_only_what_rests_is_given_up(ledger: Ledger) -> None:
    ledger.propose([Proposal({"seed": "1"}, until=0.5), Proposal({"seed": "2"})])
    for trial in ledger.claim():
        ledger.record(dataclasses.replace(trial, state="done", scores={trial.until: (1.0,)}))
    ledger.give_up([0, 1])
    assert [trial.state for trial in ledger.trials()] == ["pruned", "done"]


def test_the_copies_of_one_parent_are_told_apart(ledger: Ledger) -> None:
    child = Proposal({"seed": "1"}, until=0.5, parent=0)
    ledger.propose([Proposal({"seed": "1"}, until=0.25), child])
    ledger.propose([child, dataclasses.replace(child, until=0.75)])
    assert [(trial.parent, trial.until) for trial in ledger.trials()] == [(None, 0.25), (0, 0.5), (0, 0.75)]


def test_another_sweep_is_refused_with_what_differs(ledger: Ledger) -> None:
    differs = r"belongs to another sweep\n  base: \['steps=10'\] there, \['steps=20'\] here"
    with pytest.raises(InputError, match=differs):
        opened(ledger.folder, {**FACTS, "base": ["steps=20"]}, retry=False)


def test_how_trials_run_may_change(ledger: Ledger) -> None:
    """As it may where a run is continued; how long they train, or when they are judged, may not."""
    other = {**FACTS, "base": ["++watchdog=60", "checkpoint.minutes=1", "logger=csv", "placement=stream", "steps=10"]}
    opened(ledger.folder, other, retry=False).close()
    for key in ("eval_every=2", "early_stopping.patience=3", "ema=0.5"):
        with pytest.raises(InputError, match=rf"base: \['steps=10'\] there, \['{key}', 'steps=10'\] here"):
            opened(ledger.folder, {**FACTS, "base": [key, *other["base"]]}, retry=False)


def test_keys_keep_the_order_of_the_first_launch(ledger: Ledger, tmp_path: Path) -> None:
    space, _ = parse_space(["seed=1,2", "ema=0.5,0.9"])
    other = tmp_path / "other"
    opened(other, {**FACTS, "keys": ["ema", "seed"]}, retry=False).close()
    assert [dimension.key for dimension in ordered(space, other)] == ["ema", "seed"]
    assert ordered(space, ledger.folder) == ordered(space, tmp_path) == space  # of another sweep; of none
    with sqlite3.connect(other / "ledger.sqlite") as db:  # a stranger's
        db.execute("UPDATE facts SET value=x'00' WHERE name='keys'")
    db.close()
    assert ordered(space, other) == space
    (other / "ledger.sqlite").write_bytes(b"not a database")
    assert ordered(space, other) == space


def test_another_launch_may_be_making_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite-journal").touch()
    opened(tmp_path, FACTS, retry=False).close()


def test_an_interpolation_is_a_trial_where_it_is_typed(ledger: Ledger) -> None:
    """What a stranger's ledger would have expanded is refused."""
    ledger.propose([Proposal({"seed": "${steps}"})])
    ledger.close()
    with pytest.raises(InputError, match=r"trial 0 sets seed='\$\{steps\}', which this sweep doesn't vary so"):
        opened(ledger.folder, FACTS, retry=False, space=parse_space(["seed=1,2"])[0])
    opened(ledger.folder, FACTS, retry=False, space=parse_space(["seed=1,${steps}"])[0]).close()


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="is not empty and holds no sweep"):
        opened(tmp_path, FACTS, retry=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_ledger_is_told(ledger: Ledger) -> None:
    ledger.close()
    ledger.path.write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match=r"ledger.*not a database"):
        opened(ledger.folder, FACTS, retry=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="sweep_dir: can't"):
        opened(tmp_path / "sweep", FACTS, retry=False)


def test_a_full_disk_is_told_and_nothing_is_lost(ledger: Ledger, again: Open) -> None:
    ledger.propose(seeds(1))
    ledger._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(BigtrainError, match="full"):
        ledger.propose(seeds(*range(1000)))
    assert [trial.values for trial in again(ledger.folder).trials()] == [{"seed": "1"}]


def test_what_failed_is_tried_again_when_asked(ledger: Ledger, again: Open) -> None:
    ledger.propose(seeds(1))
    (trial,) = ledger.claim()
    ledger.record(dataclasses.replace(trial, state="failed", error="lightning"))
    ledger.close()
    assert again(ledger.folder).trials()[0].state == "failed"
    assert again(ledger.folder, retry=True).trials()[0].state == "waiting"


def test_an_outcome_that_could_not_be_written_is_written_later(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full for a moment, while the trials are looked at."""
    from bigtrain.config.errors import RunError
    from bigtrain.sweep.job import Outcome
    from bigtrain.sweep.live import Live
    from bigtrain.sweep.watching import Watching
    from bigtrain.tracking.console import Console

    ledger.propose(seeds(1))
    (trial,) = ledger.claim()
    watching, record = Watching(ledger.folder, ledger, Live(Console(quiet=True), (), 1)), ledger.record

    def full(trial: object) -> None:
        raise RunError("the disk is full")

    monkeypatch.setattr(ledger, "record", full)
    with pytest.raises(RunError):
        watching.record(trial, Outcome("done", (1.0,)))
    monkeypatch.setattr(ledger, "record", record)
    watching.record(trial, Outcome("done", (1.0,)))
    assert ledger.trials()[0].state == "done"


@pytest.mark.parametrize("column", ["state='sleeping'", "scores='[]'", "until='soon'", "swept='7'", "steps='x'"])
def test_a_damaged_row_is_told(ledger: Ledger, column: str) -> None:
    ledger.propose(seeds(1))
    ledger._db.execute(f"UPDATE trials SET {column}")
    with pytest.raises(InputError, match="trial 0 is damaged"):
        ledger.trials()


@pytest.mark.parametrize("owner", ["NULL", "''", "'..'", "'/'"])
def test_an_owner_that_is_none_is_gone(ledger: Ledger, owner: str) -> None:
    ledger.propose(seeds(1))
    ledger._db.execute(f"UPDATE trials SET state='running', owner={owner}")
    assert len(ledger.claim()) == 1
