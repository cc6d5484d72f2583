"""What every search of `configs/sweep/` must satisfy; a new one is found by being there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from simulated import LOSS, Simulated, bowl, simulate

from bigtrain.config import check, groups
from bigtrain.config.build import build
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust
from bigtrain.sweep.search import GivesUp, Search
from bigtrain.sweep.space import Space, combinations, identity, parse_space
from bigtrain.sweep.trial import Objective, Trial

CHOICES = groups.groups(groups.search_dirs())["sweep"]
LISTS, _ = parse_space(["x=range(-4,5)", "y=-4,-3,-2,-1,0,1"])
INTERVALS, _ = parse_space(["x=interval(-5,5)", "y=int(interval(-5,5))"])
PAIRS = [(name, space) for name in CHOICES for space in (LISTS, INTERVALS) if (name, space) != ("grid", INTERVALS)]


def search(name: str, space: Space, objectives: tuple[Objective, ...] = LOSS, **fields: Any) -> Search:
    """A search as its YAML has it, with other fields."""
    if name == "gp":
        pytest.importorskip("torch", reason="pip install 'bigtrain[sweep-gp]'")
    values = yaml.safe_load(CHOICES[name].read_text())
    if name == "halving" and space is INTERVALS:
        values["trials"] = 27
    node = check.check_node("sweep", {**values, **fields}, Trust())
    supplied = {"space": space, "objectives": objectives, "numbers": frozenset({"x", "y"})}
    assert set(supplied) == check.SUPPLIED["sweep"]
    return build(node, Trust(), **supplied)


def test_how_many_trials_there_will_be_is_known() -> None:
    for name, space in PAIRS:
        if name not in ("population", "gp"):
            assert len(sweep(name, space).trials) == search(name, space).trials  # type: ignore[attr-defined]


def failing(values: Mapping[str, str], share: float) -> tuple[float, ...] | None:
    """Some configurations fail at once, some later, some diverge; the others are the bowl."""
    x = float(values["x"])
    if x > 3.5 or (x < -3 and share > 0.2):
        return None
    return (math.nan,) if 2.5 < x <= 3.5 else bowl(values, share)


def sweep(name: str, space: Space, scores: Any = bowl, **fields: Any) -> Simulated:
    return simulate(search(name, space, **fields), scores)


@pytest.mark.parametrize("scores", [bowl, failing])
@pytest.mark.parametrize(("name", "space"), PAIRS)
def test_a_round_follows_from_what_was_known(name: str, space: Space, scores: Any) -> None:
    """A search that starts anew before any round proposes that round again, whatever it was asked before."""
    done = sweep(name, space, scores)
    fresh = search(name, space)
    assert done.rounds
    for known, proposals in reversed(done.rounds):
        assert fresh.propose(known) == proposals
    assert fresh.propose(tuple(done.trials)) == []
    if scores is failing:
        assert {"failed", "done"} <= {trial.state for trial in done.trials}


@pytest.mark.parametrize(("name", "space"), PAIRS)
def test_proposals_are_in_the_space(name: str, space: Space) -> None:
    done = sweep(name, space)
    for trial in done.trials:
        assert list(trial.values) == ["x", "y"]
        for dimension in space:
            text = trial.values[dimension.key]
            if dimension.continuous:
                assert dimension.low <= float(text) <= dimension.high
                assert dimension.text(int(text) if dimension.integer else float(text)) == text
            else:
                assert text in dimension.choices
    ended = [trial for trial in done.trials if trial.state == "done"]
    assert ended
    assert {trial.until for trial in ended} == {1.0}


@pytest.mark.parametrize("name", [name for name in CHOICES if name not in ("grid", "hyperband", "population")])
def test_more_trials_keep_the_earlier(name: str) -> None:
    few, many = sweep(name, INTERVALS, trials=9), sweep(name, INTERVALS, trials=14)
    assert len(few.trials) == 9
    assert len(many.trials) == 14
    assert [trial.values for trial in many.trials[:9]] == [trial.values for trial in few.trials]


@pytest.mark.parametrize("name", CHOICES)
def test_lists_may_lose_and_gain_values_on_the_way(name: str) -> None:
    """What was tried of the old values is kept; of the new lists, whatever wasn't tried can still be proposed."""
    other, _ = parse_space(["x=-1,0.0,5,6", "y=1.0,3"])
    more = {"grid": {}, "population": {}, "halving": {"trials": 8}, "hyperband": {"trials": 8}}.get(
        name, {"trials": 40}
    )
    before = sweep(name, LISTS)
    known = before.rounds[1][0] if len(before.rounds) > 1 else tuple(before.trials)
    done = simulate(search(name, other, **more), bowl, known)
    new = done.trials[len(known) :]
    assert new
    assert all(trial.values[item.key] in item.choices for trial in new for item in other)
    if name != "population":
        tried = {identity(trial.values) for trial in done.trials}
        assert {identity(values) for values in combinations(other)} <= tried
        assert len(tried) == len(done.trials)


@pytest.mark.parametrize("name", [name for name in CHOICES if name != "grid"])
def test_another_seed_is_another_sweep(name: str) -> None:
    first, second = (search(name, LISTS, seed=seed).propose(()) for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("name", CHOICES)
def test_nothing_swept_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="nothing is swept"):
        search(name, ())


@pytest.mark.parametrize("name", CHOICES)
def test_only_what_rests_is_given_up(name: str) -> None:
    for known, proposals in sweep(name, LISTS).rounds:
        made = search(name, LISTS)
        given_up = made.given_up(known) if isinstance(made, GivesUp) else set()
        going_on = {proposal.trial for proposal in proposals}
        assert not given_up & going_on
        resting = {trial.number for trial in known if trial.until < 1.0 and trial.state != "failed"}
        assert given_up == resting - going_on


def test_all_that_fail_end_a_sweep() -> None:
    for name in CHOICES:
        if name != "gp":
            done = sweep(name, LISTS, lambda values, share: None)
            assert {trial.state for trial in done.trials} == {"failed"}


def test_a_maximum_is_the_minimum_of_the_negative() -> None:
    """The searches that judge by rungs: turned around, they go on with the same trials."""
    for name in ("halving", "hyperband", "population"):
        upwards = search(name, LISTS, (Objective("reward", "max"),))
        for known, proposals in sweep(name, LISTS).rounds:
            turned = [
                replace(trial, scores={at: (-score[0],) for at, score in trial.scores.items()}) for trial in known
            ]
            assert upwards.propose(turned) == proposals


def test_a_trial_is_judged_where_it_was_measured() -> None:
    """Steps are whole, so the share of a measurement isn't the very number that was asked for."""
    made = search("halving", LISTS)
    trials: tuple[Trial, ...] = ()
    exact = simulate(made, bowl)
    for (known, _), (_, proposals) in zip(exact.rounds[1:], exact.rounds[1:], strict=True):
        trials = tuple(
            replace(trial, scores={round(at * 100) / 100: score for at, score in trial.scores.items()})
            for trial in known
        )
        assert made.propose(trials) == proposals


def test_the_documentation_names_every_search_with_its_fields() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if re.match(r"\| `\w+` \|", line)
    ]
    rows = {row[0].strip("`"): re.findall(r"`(\w+)`", row[2]) for row in cells if len(row) == 4 and row[3]}
    rows |= {row[0].strip("`"): [] for row in cells if row[0] == "`grid`"}
    assert set(rows) == set(CHOICES)
    for name, fields in rows.items():
        callee = groups.describe("sweep", name, CHOICES[name]).callee
        assert callee is not None
        own = [field for field in callee.parameters if field not in check.SUPPLIED["sweep"]]
        assert own == (rows["tpe"] if fields == ["tpe"] else fields)


def test_what_the_documentation_types_can_be_swept() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    table = text.split("## What is swept")[1].split("## Searches")[0]
    typed = re.findall(r"`([^`]+)`", " ".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    assert len(typed) > 8
    for one in typed:
        space, fixed = parse_space([one.strip("'") if "=" in one.split("(")[0] else f"steps={one}"])
        assert (len(space), fixed) == (1, [])
