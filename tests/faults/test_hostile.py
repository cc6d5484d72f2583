"""What a stranger sends is refused in one message: nothing of it is executed, nothing outside it is read or written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from attack import SECRET, Attack, Place, problems
from command import bigtrain
from hostile_data import DATA
from hostile_runs import RUNS
from hostile_sweeps import SWEEPS

from bigtrain.config.errors import InputError
from bigtrain.config.untrusted import check_contained
from bigtrain.data import bounds, checks, decoded

ATTACKS = [*RUNS, *DATA, *SWEEPS]
MEMORY = 256 << 20  # bytes that are said to be free


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place.make(tmp_path)
    monkeypatch.chdir(made.work)
    monkeypatch.setenv("CANARY", SECRET)
    for module in (checks, bounds, decoded):  # so that a bomb needn't be large
        monkeypatch.setattr(module, "available_memory", lambda: MEMORY)
    return made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_refused(attack: Attack, place: Place) -> None:
    assert not problems(attack, place)


def test_a_table_stops_where_the_memory_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are counted as they are read: what a gzip of them unpacks to stands nowhere."""
    monkeypatch.setattr(bounds, "available_memory", lambda: 100_000)
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n" * 60_000))
    done = bigtrain("data", "inspect", "csv", f"data.path={path}")
    assert (done.code, done.err) == (
        2, f"error: {path}: has more than 32,768 cells, too many for the memory there is\n  use a part of it\n",
    )  # fmt: skip


def test_there_are_enough() -> None:
    assert len(ATTACKS) >= 100
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def test_a_link_within_a_run_is_followed(tmp_path: Path) -> None:
    """What leads out is refused, not every link."""
    folder = tmp_path / "run"
    (folder / "a").mkdir(parents=True)
    (folder / "b").symlink_to("a")
    (tmp_path / "named").symlink_to(folder)  # what was typed may be a link
    check_contained(folder)
    check_contained(tmp_path / "named")
    (folder / "c").symlink_to("../elsewhere")  # though nothing is there yet: it would be written
    with pytest.raises(InputError, match="leads out"):
        check_contained(folder)
