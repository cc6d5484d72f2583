"""Population-based training: who goes on, who is copied, and what a copy changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from simulated import LOSS, Simulated, bowl, simulate

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import EarlyStoppingConfig, RunConfig
from bigtrain.sweep.population_based import PopulationBased
from bigtrain.sweep.space import parse_space

SPACE, _ = parse_space(["x=interval(-5,5)", "y=interval(-5,5)"])


def population(space: Any = SPACE, **fields: Any) -> PopulationBased:
    numbers = frozenset(dimension.key for dimension in space)
    return PopulationBased(space=space, objectives=LOSS, numbers=numbers, **fields)


def slots(done: Simulated, members: int) -> list[list[int]]:
    """The trials of each generation, from the proposals alone: a new trial is the next number."""
    number = 0
    found = []
    for _, proposals in done.rounds:
        assert len(proposals) == members
        row = []
        for proposal in proposals:
            row.append(number if proposal.trial is None else proposal.trial)
            number += proposal.trial is None
        found.append(row)
    return found


def test_the_worst_copy_the_best() -> None:
    done = simulate(population(members=8, rounds=5), bowl)
    table = slots(done, 8)
    assert len(table) == 5
    for generation in range(1, 5):
        known, proposals = done.rounds[generation]
        share = generation / 5
        order = sorted(table[generation - 1], key=lambda number: known[number].scores[share])
        assert {item.until for item in proposals} == {(generation + 1) / 5}
        for slot, item in enumerate(proposals):
            before = table[generation - 1][slot]
            if before in order[-2:]:
                assert item.trial is None
                assert item.parent in order[:2]
                assert item.values != known[item.parent].values
            else:
                assert (item.trial, item.parent) == (before, None)
                assert item.values == known[before].values
    assert len(done.trials) == 8 + 2 * 4


def test_every_member_trains_the_same_number_of_steps_and_the_replaced_are_given_up() -> None:
    done = simulate(population(members=8, rounds=5), bowl)
    assert sum(trial.state == "pruned" for trial in done.trials) == 2 * 4
    ended = [trial for trial in done.trials if trial.state == "done"]
    assert len(ended) == 8
    assert done.cost == pytest.approx(8)
    for trial in done.trials[8:]:  # a copy starts where its parent rested
        assert trial.parent is not None
        born = min(trial.scores) - 1 / 5
        assert min(abs(at - born) for at in done.trials[trial.parent].scores) < 1e-9


def test_a_failed_member_is_replaced_and_never_copied() -> None:
    def scores(values: Mapping[str, str], share: float) -> tuple[float, ...] | None:
        return None if float(values["x"]) < 0 and share > 0.3 else bowl(values, share)

    done = simulate(population(members=8, rounds=5, quantile=0.0, resample=0.0), scores)
    table = slots(done, 8)
    failed = [trial for trial in done.trials if trial.state == "failed"]
    assert 1 < len(failed) < 8
    replaced = [
        (slot, item)
        for _, proposals in done.rounds[1:]
        for slot, item in enumerate(proposals)
        if item.parent is not None
    ]
    assert len(replaced) == len(failed)
    for slot, item in replaced:
        parent = done.trials[item.parent]
        assert parent.state != "failed"
        generation = round(item.until * 5) - 1
        assert done.trials[table[generation - 1][slot]].state == "failed"


def test_who_was_replaced_stays_so() -> None:
    """Also if it failed then and was tried again since."""

    def scores(values: Mapping[str, str], share: float) -> tuple[float, ...] | None:
        return None if float(values["x"]) < 0 and share > 0.3 else bowl(values, share)

    search = population(members=8, rounds=5)
    done = simulate(search, scores)
    known, proposals = done.rounds[3]
    failed = [trial.number for trial in known if trial.state == "failed" and trial.until < 0.5]
    assert failed
    again = [
        replace(t, state="done", scores={**t.scores, t.until: (-9.0,)}) if t.number in failed else t for t in known
    ]
    assert search.propose(again) == proposals


def test_copies_change_within_their_bounds() -> None:
    space, _ = parse_space(
        ["log=tag(log,interval(1e-3,1e-1))", "whole=int(interval(1,4))", "list=0.1,0.2,0.4,0.8", "word=a,b"]
    )

    def scores(values: Mapping[str, str], share: float) -> tuple[float]:
        return (float(values["log"]),)

    done = simulate(population(space, members=10, rounds=20, resample=0.0, perturb=(0.5, 2.0)), scores)
    copies = [trial for trial in done.trials if trial.parent is not None]
    assert len(copies) == 2 * 19
    factors, moves = set(), set()
    for trial in copies:
        parent = done.trials[trial.parent].values
        log, before = float(trial.values["log"]), float(parent["log"])
        assert 1e-3 <= log <= 1e-1
        if log not in (1e-3, 1e-1):
            assert log / before in (pytest.approx(0.5), pytest.approx(2.0))
            factors.add(round(log / before, 6))
        assert trial.values["whole"] in ("1", "2", "3", "4")
        places = ("0.1", "0.2", "0.4", "0.8")
        moves.add(places.index(trial.values["list"]) - places.index(parent["list"]))
    assert factors == {0.5, 2.0}
    assert moves == {-1, 0, 1}  # 0 at either end


def test_small_whole_numbers_move_too() -> None:
    space, _ = parse_space(["whole=int(interval(1,4))"])
    search = population(space, members=4, rounds=10, resample=0.0)
    done = simulate(search, lambda values, share: (abs(int(values["whole"]) - 2),))
    for trial in done.trials:
        if trial.parent is not None and done.trials[trial.parent].values["whole"] in ("2", "3"):
            assert abs(int(trial.values["whole"]) - int(done.trials[trial.parent].values["whole"])) == 1


def test_it_finds_a_better_place_than_its_first_members() -> None:
    """Twenty rounds on the bowl: the last members are nearer to its bottom than any of the first."""
    for seed in range(5):
        done = simulate(population(members=8, rounds=20, seed=seed), bowl)
        first = min(bowl(trial.values, 1.0)[0] for trial in done.trials[:8])
        assert done.lowest <= first
    assert done.lowest < 0.1 * first


def test_what_can_not_change_in_the_middle_is_refused() -> None:
    space, _ = parse_space(["optimizer.learning_rate=interval(0,1)", "model=mlp,rnn"])
    numbers = frozenset({"optimizer.learning_rate", "model.dropout"})
    with pytest.raises(ConfigError) as caught:
        PopulationBased(space=space, objectives=LOSS, numbers=numbers)
    assert str(caught.value).splitlines() == [
        "model: can't change in the middle of a run, as population-based training changes what it sweeps",
        "  allowed: model.dropout, optimizer.learning_rate",
        "  sweep it with another search: bigtrain configs sweep",
    ]


@pytest.mark.parametrize(
    ("fields", "said"), [({"members": 1}, "sweep.members: 1"), ({"quantile": 0.6}, "sweep.quantile: 0.6")]
)
def test_mistakes(fields: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.") + " is not allowed"):
        population(**fields)


def test_runs_that_a_copy_could_not_train_are_refused() -> None:
    """Fewer steps than rounds, or an end before the last of them: a copy would be given what its parent has reached."""
    search, run = population(rounds=10), RunConfig("mlp", "digits", "classification", "adam", "constant")
    search.check(run, 10)
    with pytest.raises(ConfigError, match=r"sweep.rounds: 10 is more than the 9 steps of a run"):
        search.check(run, 9)
    with pytest.raises(ConfigError, match=r"early_stopping.patience: would end members"):
        search.check(replace(run, early_stopping=EarlyStoppingConfig(patience=1)), 100)
