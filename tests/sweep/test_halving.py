"""Successive halving and Hyperband: the rungs of the papers, and what goes on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import pytest
from simulated import LOSS, bowl, simulate

from bigtrain.config.errors import ConfigError
from bigtrain.sweep.halving import Halving
from bigtrain.sweep.hyperband import Hyperband, shared_out, starting
from bigtrain.sweep.rungs import score_at, shares
from bigtrain.sweep.space import parse_space
from bigtrain.sweep.trial import Trial

INTERVALS, _ = parse_space(["x=interval(-5,5)", "y=interval(-5,5)"])
LISTS, _ = parse_space(["x=range(-4,5)", "y=-4,-3,-2,-1,0,1"])


def rungs(search: Halving | Hyperband) -> list[dict[int, int]]:
    """How many trials each round asks to train to each share, written as its inverse."""
    done = simulate(search, bowl)
    return [dict(Counter(round(1 / item.until) for item in proposals)) for _, proposals in done.rounds]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"trials": 27}, [{27: 27}, {9: 9}, {3: 3}, {1: 1}]),
        ({"trials": 81, "rungs": 5}, [{81: 81}, {27: 27}, {9: 9}, {3: 3}, {1: 1}]),
        ({"trials": 16, "eta": 2, "rungs": 4}, [{8: 16}, {4: 8}, {2: 4}, {1: 2}]),
        ({"trials": 20}, [{27: 20}, {9: 6}, {3: 2}, {1: 1}]),
        ({"trials": 2}, [{27: 2}, {9: 1}, {3: 1}, {1: 1}]),
        ({"trials": 5, "rungs": 1}, [{1: 5}]),
    ],
)
def test_the_rungs_of_successive_halving(fields: dict[str, int], wanted: list[dict[int, int]]) -> None:
    assert rungs(Halving(**fields, space=INTERVALS, objectives=LOSS)) == wanted


def test_the_brackets_of_the_paper() -> None:
    """Li et al. 2018, table 1: R = 81, eta = 3."""
    assert starting(3, 5) == [81, 34, 15, 8, 5]
    found = rungs(Hyperband(brackets=5, space=INTERVALS, objectives=LOSS))
    assert found == [
        {81: 81, 27: 34, 9: 15, 3: 8, 1: 5},
        {27: 27, 9: 11, 3: 5, 1: 2},
        {9: 9, 3: 3, 1: 1},
        {3: 3, 1: 1},
        {1: 1},
    ]


def test_a_grid_is_shared_out() -> None:
    assert shared_out(54, starting(3, 4)) == [30, 13, 7, 4]
    assert shared_out(3, [27, 12, 6, 4]) == [2, 1, 0, 0]
    done = simulate(Hyperband(space=LISTS, objectives=LOSS), bowl)
    assert len({tuple(trial.values.values()) for trial in done.trials}) == len(done.trials) == 54
    assert done.cost < 0.4 * 54
    few = simulate(Hyperband(trials=3, space=LISTS, objectives=LOSS), bowl)
    assert len(few.trials) == 3


def test_a_trial_that_goes_on_keeps_what_it_has_trained() -> None:
    done = simulate(Halving(trials=27, space=INTERVALS, objectives=LOSS), bowl)
    assert done.cost == pytest.approx(1 + 9 * (1 / 9 - 1 / 27) + 3 * (1 / 3 - 1 / 9) + 1 * (1 - 1 / 3))
    assert Counter(trial.state for trial in done.trials) == {"pruned": 26, "done": 1}
    assert len(done.trials) == 27


def test_the_best_of_each_rung_go_on() -> None:
    done = simulate(Halving(space=LISTS, objectives=LOSS), bowl)
    assert len(done.trials) == 54
    for (known, _), (after, proposals) in zip(done.rounds, done.rounds[1:], strict=False):
        last = {item.trial for item in proposals}
        asked = [trial for trial in after if trial.until == max(other.until for other in after)]
        order = sorted(asked, key=lambda trial: (trial.scores[trial.until], trial.number))
        assert last == {trial.number for trial in order[: len(asked) // 3]}
        assert len(known) in (0, 54)
    assert done.lowest == 0.0


def test_what_failed_or_diverged_never_goes_on() -> None:
    """Places of those that failed stay empty only where nobody is left to take them."""

    def scores(values: Mapping[str, str], share: float) -> tuple[float] | None:
        x = float(values["x"])
        return None if x > 0 else (math.inf,) if x > -1 else (math.nan,) if x > -2 else bowl(values, share)

    done = simulate(Halving(space=LISTS, objectives=LOSS), scores)
    counts = [len(proposals) for _, proposals in done.rounds]
    assert counts == [54, 18, 6, 2]  # of 54, 18 have a finite score: x = -4, -3, -2
    went_on = {item.trial for _, proposals in done.rounds[1:] for item in proposals}
    assert {done.trials[number].values["x"] for number in went_on} <= {"-4", "-3", "-2"}

    few = simulate(
        Halving(space=LISTS, objectives=LOSS), lambda values, share: bowl(values, share) if values["x"] == "1" else None
    )
    assert [len(proposals) for _, proposals in few.rounds] == [54, 6, 6, 2]


def test_a_trial_that_failed_later_had_a_score_before() -> None:
    trial = Trial(0, {}, "", "failed", until=1 / 3, scores={1 / 27: (0.5,), 1 / 9: (0.4,)})
    assert [score_at(trial, share) for share in shares(3, 4)] == [0.5, 0.4, None, None]


@pytest.mark.parametrize("search", [Halving, Hyperband])
def test_more_trials_make_up_what_is_missing(search: type) -> None:
    """A search that has ended and is given more trials starts those; what was given up stays so."""
    small = simulate(search(trials=9, space=LISTS, objectives=LOSS), bowl)
    larger = search(trials=27, space=LISTS, objectives=LOSS)
    done = simulate(larger, bowl, known=tuple(small.trials))
    whole = {tuple(proposal.values.items()) for proposal in larger.propose(())}
    assert {tuple(trial.values.items()) for trial in done.trials} == whole
    assert [trial.values for trial in done.trials[:9]] == [trial.values for trial in small.trials]
    assert all(trial.state == "pruned" for trial in done.trials[:9] if small.trials[trial.number].state == "pruned")
    assert sum(trial.state == "done" for trial in done.trials) > 1
    assert larger.propose(done.trials) == []


@pytest.mark.parametrize("search", [Halving, Hyperband])
def test_mistakes(search: type) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.eta: 1 is not allowed"):
        search(eta=1, trials=3, space=LISTS, objectives=LOSS)
    with pytest.raises(
        ConfigError, match=r"sweep\.trials: 55 is more than there are combinations\n  allowed: at most 54"
    ):
        search(trials=55, space=LISTS, objectives=LOSS)


def test_an_interval_needs_a_number_of_trials() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.trials: is needed"):
        Halving(space=INTERVALS, objectives=LOSS)


def test_a_grid_that_nobody_could_list_is_drawn_from() -> None:
    space, _ = parse_space([f"x{axis}=range(0,200)" for axis in range(4)])
    with pytest.raises(ConfigError, match=r"sweep\.trials: is needed"):
        Halving(space=space, objectives=LOSS)
    proposals = Halving(trials=9, space=space, objectives=LOSS).propose(())
    assert len({tuple(proposal.values.items()) for proposal in proposals}) == 9
