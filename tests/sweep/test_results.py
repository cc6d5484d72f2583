"""results.csv, and what is worked out from the trials: importance and the Pareto front."""

from __future__ import annotations

import csv
import dataclasses
import random
import shlex
from pathlib import Path

import pytest
from made_sweep import LOSS, made_sweep

from bigtrain.sweep.report.front import front
from bigtrain.sweep.report.importance import explained, importance
from bigtrain.sweep.results import Sweep, rows, write_csv
from bigtrain.sweep.trial import Objective, Trial

HOSTILE = 'a "quoted", value\nof two lines; =1+1'


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_numbers_read_back_as_the_same(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path, objectives=(LOSS, Objective("parameters", "min")))
    found = _read(write_csv(sweep))
    assert [row["trial"] for row in found] == [str(trial.number) for trial in sweep.trials]
    for row, trial in zip(found, sweep.trials, strict=True):
        scores = tuple(float(row[name]) for name in ("loss", "parameters")) if row["loss"] else None
        assert scores == trial.last
        assert {key: row[key] for key in sweep.keys} == trial.values
        assert (row["state"], row["error"]) == (trial.state, trial.error or "")
        assert (tmp_path / row["run_dir"]).is_dir()


def test_any_text_reads_back(tmp_path: Path) -> None:
    trial = Trial(0, {"seed": HOSTILE}, "0", error=HOSTILE)
    sweep = dataclasses.replace(made_sweep(tmp_path, 1), trials=(trial,), keys=("seed",))
    row = _read(write_csv(sweep))[0]
    assert (row["seed"], row["error"], row["loss"]) == (HOSTILE, HOSTILE, "")


def test_no_clock_is_in_it(tmp_path: Path) -> None:
    """A sweep that was killed and continued ends with the same file as one that was not."""
    sweep = made_sweep(tmp_path)
    first = write_csv(sweep).read_bytes()
    later = [dataclasses.replace(trial, seconds=trial.seconds + 7) for trial in reversed(sweep.trials)]
    assert write_csv(dataclasses.replace(sweep, trials=tuple(later), seconds=99.0)).read_bytes() == first
    assert first.count(b"\r\n") == len(sweep.trials) + 1  # RFC 4180
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["results.csv"]


def test_parents_have_a_column_where_there_are_any(tmp_path: Path) -> None:
    assert "parent" not in rows(made_sweep(tmp_path / "plain"))[0]
    found = rows(made_sweep(tmp_path / "population", lineage=True))
    at = found[0].index("parent")
    assert [row[at] for row in found[1:6]] == ["", "", "", "0", "1"]


def test_the_command_that_repeats_a_trial(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path)
    trial = dataclasses.replace(sweep.trials[0], values={"optimizer.learning_rate": "0.001", "seed": "a b;c"})
    command = sweep.repeat(trial)
    assert shlex.split(command) == [
        "bigtrain", "fit", "steps=300", "model.widths=[8]", "optimizer.learning_rate=0.001", "seed=a b;c",
    ]  # fmt: skip
    assert "'model.widths=[8]'" in command


def test_variance_explained_by_hand() -> None:
    """Ranks 1…6 in three groups of two: 17.5 in all, 1.5 within, and 2 · 0.5 by chance."""
    assert explained(["a", "a", "b", "b", "c", "c"], [1, 2, 3, 4, 5, 6]) == pytest.approx(15 / 17.5)
    assert explained(["a", "b", "a", "b", "a", "b"], [1, 1, 2, 2, 3, 3]) == 0.0
    assert explained(["a"] * 6, [1, 2, 3, 4, 5, 6]) is None
    assert explained(["a", "b"] * 2, [1, 2, 3, 4]) is None


def test_what_decides_is_found_and_noise_is_not(tmp_path: Path) -> None:
    draw = random.Random(0)
    trials = []
    for number in range(400):
        rate, seed, decay = draw.choice(["1e-3", "1e-2", "1e-1"]), str(number % 20), repr(draw.uniform(0, 1))
        score = float(rate) * 5 + draw.gauss(0, 0.02) + (1e9 if number == 7 else 0)  # and one that diverged
        values = {"rate": rate, "seed": seed, "decay": decay}
        trials.append(Trial(number, values, str(number), state="done", scores={1.0: (score,)}))
    found = importance(Sweep(tmp_path, "", (), ("decay", "seed", "rate"), (LOSS,), tuple(trials)))
    assert next(iter(found.shares)) == "rate"
    assert found.shares["rate"] == pytest.approx(0.85, abs=0.1)
    assert found.shares["seed"] == pytest.approx(0, abs=0.05)  # 20 values explain 5% by chance alone
    assert found.shares["decay"] == pytest.approx(0, abs=0.05)
    assert (found.trials, found.at) == (400, 1.0)


def test_trials_are_compared_after_the_same_steps(tmp_path: Path) -> None:
    """Of nine that a search tried, three went on: the nine are compared where all of them were measured."""
    trials = []
    for number in range(9):
        scores = {1 / 9: (float(number),)} | ({1.0: (0.5,)} if number < 3 else {})
        trials.append(Trial(number, {"seed": str(number // 3)}, str(number), state="done", scores=scores))
    found = importance(Sweep(tmp_path, "", (), ("seed",), (LOSS,), tuple(trials)))
    assert (found.trials, found.at) == (9, 1 / 9)
    assert found.shares["seed"] == pytest.approx((54 - 2 * 1) / 60)


def test_the_front_is_what_nothing_dominates() -> None:
    draw = random.Random(1)
    goals = (LOSS, Objective("accuracy", "max"), Objective("parameters", "min"))
    trials = [
        Trial(at, {}, str(at), state="done", scores={1.0: tuple(float(draw.randint(0, 6)) for _ in goals)})
        for at in range(60)
    ]
    resting = Trial(60, {}, "60", state="done", until=0.5, scores={0.5: (-1.0, 9.0, -1.0)})
    broken = Trial(61, {}, "61", state="done", scores={1.0: (float("nan"), 9.0, -1.0)})

    def dominated(trial: Trial) -> bool:
        for other in trials:
            pairs = list(zip(goals, other.last or (), trial.last or (), strict=True))
            no_worse = not any(goal.better(right, left) for goal, left, right in pairs)
            if no_worse and any(goal.better(left, right) for goal, left, right in pairs):
                return True
        return False

    expected = {trial.number for trial in trials if not dominated(trial)}
    assert {trial.number for trial in front([*trials, resting, broken], goals)} == expected
    assert 1 < len(expected) < 30


@pytest.mark.parametrize("number", [0, 1, 2])
def test_few_trials_have_a_front(number: int) -> None:
    trials = [Trial(at, {}, str(at), state="done", scores={1.0: (1.0, 1.0)}) for at in range(number)]
    assert front(trials, (LOSS, LOSS)) == trials  # equals don't dominate each other
