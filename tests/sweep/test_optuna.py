"""The searches that learn through Optuna: TPE, the Gaussian process and NSGA-II."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from simulated import LOSS, Scores, bowl, simulate

from bigtrain.config.errors import ConfigError, InputError
from bigtrain.sweep import optuna_study
from bigtrain.sweep.gp import GP
from bigtrain.sweep.nsga2 import NSGA2
from bigtrain.sweep.random_search import Random
from bigtrain.sweep.space import Space, combinations, parse_space
from bigtrain.sweep.tpe import TPE
from bigtrain.sweep.trial import Objective, Trial

INTERVALS, _ = parse_space(["x=interval(-5,5)", "y=interval(-5,5)"])
LISTS, _ = parse_space(["x=-1,0,1,2", "y=-3,-2,-1"])
TWO = (Objective("loss", "min"), Objective("accuracy", "max"))


def mean_lowest(search: type, space: Space = INTERVALS, scores: Scores = bowl, **fields: Any) -> float:
    return float(np.mean([simulate(search(seed=seed, space=space, **fields), scores).lowest for seed in range(5)]))


def test_tpe_beats_random_search() -> None:
    assert mean_lowest(TPE, trials=30, objectives=LOSS) < 0.5 * mean_lowest(Random, trials=30)


def test_nsga2_beats_random_search() -> None:
    """In six dimensions, where half of a good configuration is worth something."""
    space, _ = parse_space([f"x{axis}=interval(-5,5)" for axis in range(6)])

    def scores(values: Mapping[str, str], share: float) -> tuple[float]:
        return (sum((float(value) - 1) ** 2 for value in values.values()),)

    learnt = mean_lowest(NSGA2, space, scores, trials=80, objectives=LOSS)
    assert learnt < 0.6 * mean_lowest(Random, space, scores, trials=80)


def test_gp_beats_random_search() -> None:
    pytest.importorskip("torch", reason="pip install 'bigtrain[sweep-gp]'")
    search = GP(trials=20, space=INTERVALS, objectives=LOSS)
    assert simulate(search, bowl).lowest < simulate(Random(trials=20, space=INTERVALS), bowl).lowest


def trade(values: Mapping[str, str], share: float) -> tuple[float, float]:
    """What is best for the one is not for the other: the front is 0 <= x <= 2, y = 0."""
    x, y = float(values["x"]), float(values["y"])
    return x**2 + y**2, -((x - 2) ** 2) - y**2


def near_the_front(search: type, **fields: Any) -> float:
    """The share of the later trials of five sweeps that are near the front; of even draws it is 0.06."""
    late = [t for seed in range(5) for t in simulate(search(trials=80, seed=seed, **fields), trade).trials[40:]]
    return float(np.mean([-0.5 <= float(t.values["x"]) <= 2.5 and abs(float(t.values["y"])) < 1 for t in late]))


@pytest.mark.parametrize("search", [TPE, NSGA2])
def test_several_objectives(search: type) -> None:
    found = near_the_front(search, space=INTERVALS, objectives=TWO)
    assert found > 3 * near_the_front(Random, space=INTERVALS)


def test_nsga2_draws_its_first_generation_and_crosses_the_next() -> None:
    """On a wide grid, a child has most of its values from its parents, and a random draw nearly never."""
    space, _ = parse_space([f"x{axis}=range(0,1000)" for axis in range(4)])

    def scores(values: Mapping[str, str], share: float) -> tuple[float]:
        return (float(sum(int(value) for value in values.values())),)

    trials = simulate(NSGA2(trials=32, population=8, space=space, objectives=LOSS), scores).trials

    def inherited(generation: int) -> float:
        earlier = trials[: 8 * generation]
        own = trials[8 * generation : 8 * generation + 8]
        found = [
            any(trial.values[key] == other.values[key] for other in earlier) for trial in own for key in trial.values
        ]
        return float(np.mean(found))

    assert inherited(1) > 0.5
    assert inherited(3) > 0.5


@pytest.mark.parametrize("search", [TPE, NSGA2])
def test_a_grid_is_never_proposed_twice_and_ends(search: type) -> None:
    done = simulate(search(trials=40, parallel=5, space=LISTS, objectives=LOSS), bowl)
    tried = [tuple(trial.values.items()) for trial in done.trials]
    assert sorted(tried) == sorted(tuple(values.items()) for values in combinations(LISTS))
    assert [len(proposals) for _, proposals in done.rounds] == [5, 5, 2]


def test_the_next_untried_is_taken_where_a_sampler_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_study, "ATTEMPTS", 0)
    done = simulate(TPE(trials=12, space=LISTS, objectives=LOSS), bowl)
    assert [trial.values for trial in done.trials] == list(combinations(LISTS))


def test_pruned_and_failed_trials_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    studies = []
    create = optuna.create_study
    monkeypatch.setattr(optuna, "create_study", lambda **given: studies.append(create(**given)) or studies[-1])
    values = {"x": "1.0", "y": "2.0"}
    trials = [
        Trial(0, values, "", "done", scores={1.0: (3.0,)}),
        Trial(1, values, "", "pruned", until=0.5, scores={0.2: (5.0,), 0.5: (4.0,)}, steps=50),
        Trial(2, values, "", "failed", scores={0.5: (1.0,)}),
        Trial(3, values, "", "done", scores={1.0: (float("nan"),)}),
        Trial(4, values, "", "done"),
    ]
    TPE(space=INTERVALS, objectives=LOSS).propose(trials)
    told = studies[0].trials[:5]
    assert [trial.state.name for trial in told] == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "FAIL"]
    assert told[0].values == [3.0]
    assert told[1].intermediate_values == {50: 4.0}
    assert told[0].params == {"x": 1.0, "y": 2.0}


def test_it_says_nothing_and_leaves_optuna_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        simulate(TPE(trials=14, space=LISTS, objectives=LOSS), bowl)
        simulate(NSGA2(trials=12, space=INTERVALS, objectives=TWO), trade)
    assert not caught
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before
    assert logging.getLogger("optuna").level == before


@pytest.mark.parametrize(
    ("search", "missing", "extra"),
    [(TPE, "optuna", "sweep"), (NSGA2, "optuna", "sweep"), (GP, "optuna", "sweep-gp"), (GP, "torch", "sweep-gp")],
)
def test_a_missing_package_is_told_with_what_to_type(
    search: type, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {"optuna", "torch", "scipy"} - {missing}
    monkeypatch.setattr(optuna_study, "installed", lambda package: package in present)
    with pytest.raises(InputError) as caught:
        search(space=INTERVALS, objectives=LOSS)
    assert f"needs the package {missing!r}, which is not installed\n  pip install 'bigtrain[{extra}]'" in str(
        caught.value
    )
    declared = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\n{extra} = ["optuna>=5"' in declared


def test_a_population_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.population: 1 is not allowed"):
        NSGA2(population=1, space=INTERVALS, objectives=LOSS)


def test_optuna_is_loaded_where_it_is_used() -> None:
    """Its absence can be told only by a module that loads without it."""
    for path in Path(optuna_study.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.split(".")[0] in ("optuna", "torch", "scipy")], path.name
